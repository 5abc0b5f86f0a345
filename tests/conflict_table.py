"""Which pairs of components are refused or warned of, written by hand from the papers without sight of the code.

Rows are (a, b, settings, reason); the settings are dotted keys that must hold for the row, {} holds for all. A combination
is refused exactly if it contains a refused pair; what stands in no row trains.
"""

from itertools import combinations

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
    *(
        ("loss." + loss, "trick.label_smoothing", {}, "relativistic and quadratic scores have no labels to smooth")
        for loss in ("ragan", "ralsgan", "rahinge", "rpgan", "gan_qp", "o_gan", "multi_hinge", "ebgan", "began")
    ),
    *(
        ("loss." + loss, "trick.label_flipping", {}, "nor any to turn round: for cross entropy and LSGAN alone")
        for loss in (
            "wgan",
            "hinge",
            "ragan",
            "ralsgan",
            "rahinge",
            "rpgan",
            "gan_qp",
            "o_gan",
            "multi_hinge",
            "ebgan",
            "began",
        )
    ),
    *(
        ("loss." + loss, "trick.experience_replay", {}, "section 11: replay conflicts with losses of pairs")
        for loss in ("rpgan", "gan_qp", "o_gan")
    ),
    *(
        ("loss." + loss, "trick.cascading", {}, "section 11: no cascade on a code, nor on an energy")
        for loss in ("o_gan", "ebgan", "began")
    ),
    ("loss.o_gan", "trick.pacgan", {}, "a code is compared with the z of its sample, and a pack has several"),
    *(
        ("regularizer." + name, "trick.minibatch_discrimination", {}, "section 11: gradients of samples, coupled in D")
        for name in ("gp", "dragan", "wgan_div", "r1", "r2")
    ),
    *(
        (
            "regularizer." + name,
            "trick.minibatch_stddev",
            {},
            "rule 1; StyleGAN2 has R1 with it anyway, so R1 and R2 may",
        )
        for name in ("gp", "dragan", "wgan_div")
    ),
    ("regularizer.gp", "model.d_norm=batch", {}, "a sample's gradient needs a D(x_b) that depends on x_b alone"),
    ("regularizer.r1", "model.d_norm=batch", {}, "a sample's gradient needs a D(x_b) that depends on x_b alone"),
    ("regularizer.r2", "model.d_norm=batch", {}, "a sample's gradient needs a D(x_b) that depends on x_b alone"),
    *(
        ("regularizer." + name, "model.d_norm=batch", {}, "their gradient is a sample's own too: no BN in D")
        for name in ("dragan", "wgan_div")
    ),
    (
        "regularizer.ct",
        "model.d_norm=batch",
        {},
        "the official code removes BN from D; D(x') − D(x'') would mix samples",
    ),
    ("trick.conditional_batch_norm", "trick.label_concat", {}, "two ways of telling G the label, where one is needed"),
    *(
        ("trick." + name, "trick.virtual_batch_norm", {}, "section 11: not in the same slot")
        for name in ("conditional_batch_norm", "self_modulation", "skip_z", "shared_embedding")
    ),
    *(
        ("loss." + loss, "trick.projection", {}, "no projection on a code or on class margins")
        for loss in ("o_gan", "multi_hinge", "ebgan", "began")
    ),
    ("loss.multi_hinge", "trick.cascading", {}, "its scores are margins between logits, not directions"),
    *(
        ("trick." + name, "trick.pacgan", {}, "section 11: labels in a pack would have to be one")
        for name in (
            "conditional_batch_norm",
            "label_concat",
            "shared_embedding",
            "projection",
            "acgan",
            "contragan",
            "d2d_ce",
        )
    ),
    ("loss.multi_hinge", "trick.pacgan", {}, "section 11: labels in a pack would have to be one"),
    ("trick.infogan", "trick.pacgan", {}, "the samples of a pack have codes of their own"),
    ("loss.o_gan", "trick.infogan", {}, "two codes in one z"),
    ("trick.infogan", "trick.truncation", {}, "codes are no noise"),
    *(
        ("trick." + a, "trick." + b, {}, "two update rules")
        for a, b in combinations(("critic_schedule", "dynamic_balance", "extragradient", "simultaneous", "unrolled"), 2)
    ),
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
    ("regularizer.dragan", SN, {f"{SN}.network": "discriminator"}, "as with gp"),
    ("regularizer.dragan", SN, {f"{SN}.network": "both"}, "as with gp"),
    ("regularizer.dragan", "regularizer.weight_clip", {}, "as with gp"),
    ("regularizer.dragan", "regularizer.gp", {}, "two penalties that pull the same gradient to length 1"),
]
