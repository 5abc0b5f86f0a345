"""Which pairs of components are refused or warned of, written by hand from the papers without sight of the code.

Rows are (a, b, settings, reason); the settings are dotted keys that must hold for the row, {} holds for all. A combination
is refused exactly if it contains a refused pair; what stands in no row trains.
"""

Row = tuple[str, str, dict[str, str], str]
SN = "trick.spectral_norm"

REFUSED: list[Row] = [
    ("loss.wgan", "trick.label_smoothing", {}, "scores of WGAN are no probabilities: there is no label to smooth"),
    ("loss.hinge", "trick.label_smoothing", {}, "for cross entropy, or the b of LSGAN; not for the hinge loss"),
    (
        "regularizer.weight_clip",
        SN,
        {f"{SN}.network": "discriminator"},
        "the norm divides out the scale that clipping sets",
    ),
    ("regularizer.weight_clip", SN, {f"{SN}.network": "both"}, "both includes D; with G alone there is no conflict"),
    ("regularizer.gp", "model.d_norm=batch", {}, "a sample's gradient needs a D(x_b) that depends on x_b alone"),
    ("regularizer.r1", "model.d_norm=batch", {}, "a sample's gradient needs a D(x_b) that depends on x_b alone"),
    ("regularizer.r2", "model.d_norm=batch", {}, "a sample's gradient needs a D(x_b) that depends on x_b alone"),
    (
        "regularizer.ct",
        "model.d_norm=batch",
        {},
        "the official code removes BN from D; D(x') − D(x'') would mix samples",
    ),
    ("trick.conditional_batch_norm", "trick.label_concat", {}, "two ways of telling G the label, where one is needed"),
    ("trick.conditional_batch_norm", "trick.self_modulation", {}, "each gives G's batch norms a gain of its own"),
    (
        "trick.conditional_batch_norm",
        "trick.shared_embedding",
        {},
        "two gains for each class; BigGAN's replaces the other",
    ),
    (
        "trick.conditional_batch_norm",
        "trick.skip_z",
        {},
        "each gives G's batch norms a gain; skip-z goes with the shared one",
    ),
    ("trick.label_concat", "trick.self_modulation", {}, "both say what G's first layer is given"),
    ("trick.label_concat", "trick.shared_embedding", {}, "two ways of telling G the label, where one is needed"),
    ("trick.label_concat", "trick.skip_z", {}, "both say what G's first layer is given"),
    ("trick.self_modulation", "trick.shared_embedding", {}, "each gives G's batch norms a gain of its own"),
    ("trick.self_modulation", "trick.skip_z", {}, "each gives G's batch norms a gain of z, one with all of it"),
]

WARNED: list[Row] = [
    ("regularizer.gp", SN, {f"{SN}.network": "discriminator"}, "legal, as in the compare_gan study, but redundant"),
    ("regularizer.gp", SN, {f"{SN}.network": "both"}, "both includes D"),
    ("regularizer.gp", "regularizer.weight_clip", {}, "two bounds on the gradient of the same D"),
]
