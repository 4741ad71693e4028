#!/bin/sh
# The smallest training there is: one line of output.
awk -v seed="$KNOCKOUT_SEED" -v words="$*" 'BEGIN {
    srand(seed); noise = 0.01 * rand()
    lr = words ~ /lr=0\.3/ ? 0.3 : 0.1
    printf "val_loss: %.4f\n", 1.3 - lr + noise
}'
