#!/bin/sh
# The smallest training there is: one line of output. Some generators take the seeds 0 and 1 for one.
awk -v seed="$KNOCKOUT_SEED" -v words="$*" 'BEGIN {
    srand(seed + 1); noise = 0.01 * rand()
    lr = words ~ /lr=0\.3/ ? 0.3 : 0.1
    printf "val_loss: %.4f\n", 1.3 - lr + noise
}'
