"""What a network is made of: the gated delta rule, its blocks, patches, norms and pooling."""
