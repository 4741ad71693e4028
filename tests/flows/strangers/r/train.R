# A linear model in R; the seed comes by the environment.
arguments <- commandArgs(trailingOnly = TRUE)
noise <- as.numeric(sub("--noise=", "", grep("^--noise=", arguments, value = TRUE)))
set.seed(as.integer(Sys.getenv("KNOCKOUT_SEED")))
x <- rnorm(50)
y <- 2 * x + rnorm(50, sd = noise)
cat(sprintf("rmse: %.4f\n", sqrt(mean(residuals(lm(y ~ x))^2))))
