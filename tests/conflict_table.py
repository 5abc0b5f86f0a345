"""Which pairs of components are refused or warned of, written by hand from the papers without sight of the code.

Rows are (a, b, settings, reason); the settings are dotted keys that must hold for the row, {} holds for all. A combination
is refused exactly if it contains a refused pair; what stands in no row trains.
"""

from itertools import combinations

Row = tuple[str, str, dict[str, str], str]
SN = "trick.spectral_norm"
DRS = "trick.rejection_sampling"

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
    ("trick.weight_norm", SN, {f"{SN}.network": "discriminator"}, "two scales for one weight"),
    ("trick.weight_norm", SN, {f"{SN}.network": "both"}, "both includes D"),
    ("regularizer.weight_clip", "trick.weight_norm", {}, "as with spectral_norm: its rows have lengths of their own"),
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
    (
        "trick.experience_replay",
        "trick.minibatch_discrimination",
        {"trick.experience_replay.how": "add"},
        "a sum over the batch tells how many fakes there are",
    ),
    ("trick.infogan", "trick.truncation", {}, "codes are no noise"),
    ("trick.infogan", "trick.latent_optimization", {}, "nor are they to be moved"),
    ("trick.infogan", "trick.experience_replay", {}, "old fakes were made of other codes"),
    ("trick.latent_optimization", "trick.unrolled", {}, "a third derivative of G's batch norms, which torch lacks"),
    *(
        ("trick.latent_optimization", "trick." + name, {}, "a sample's gradient: rule 1, D(x_b) of x_b alone")
        for name in ("minibatch_discrimination", "minibatch_stddev")
    ),
    ("trick.latent_optimization", "trick.pacgan", {}, "each z follows its own sample's score, and a pack has one"),
    *(
        ("trick." + a, "trick." + b, {}, "two update rules")
        for a, b in combinations(("critic_schedule", "dynamic_balance", "extragradient", "simultaneous", "unrolled"), 2)
    ),
    *(
        ("trick." + name, "trick.rejection_sampling", {}, "rules 7 to 9: the score must be of one sample")
        for name in ("minibatch_discrimination", "minibatch_stddev", "pacgan")
    ),
    *(
        ("loss." + loss, DRS, {f"{DRS}.head": "none"}, "rules 7 to 9: section 11 has DRS need a calibrated logit")
        for loss in (
            "wgan",
            "hinge",
            "lsgan",
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
        ("loss." + loss, DRS, {f"{DRS}.head": "none"}, "and rule 7: an energy least of all")
        for loss in ("ebgan", "began")
    ),
    ("trick.standing_statistics", "trick.virtual_batch_norm", {}, "G's statistics are those of a fixed batch, always"),
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
    ("trick.cascading", "loss.semi_supervised", {}, "section 11: no binary head beside K class logits"),
    ("trick.projection", "loss.semi_supervised", {}, "section 11: nor one on the label that D is to tell"),
    *(
        ("trick." + name, "loss.semi_supervised", {}, "D would be shown the labels that count as unknown")
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
    *(
        (
            "trick.label_concat",
            other,
            {"trick.label_concat.d_place": "input"},
            "D would be told the class that it is to tell",
        )
        for other in ("trick.acgan", "trick.contragan", "trick.d2d_ce", "loss.multi_hinge")
    ),
    ("trick.pacgan", "loss.semi_supervised", {}, "a pack has no class"),
    ("regularizer.temporal_ensembling", "trick.pacgan", {}, "it remembers each image, and a pack is new each time"),
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
