"""Papers that more than one part cites; a paper cited once stands in its part's file."""

from gantrick.types import Paper

GAN = Paper(
    "goodfellow2014generative",
    "Generative Adversarial Nets",
    "Goodfellow, Ian and Pouget-Abadie, Jean and Mirza, Mehdi and Xu, Bing and Warde-Farley, David and Ozair, Sherjil "
    "and Courville, Aaron and Bengio, Yoshua",
    2014,
    "1406.2661",
    "Advances in Neural Information Processing Systems",
)
WGAN = Paper(
    "arjovsky2017wasserstein",
    "Wasserstein Generative Adversarial Networks",
    "Arjovsky, Martin and Chintala, Soumith and Bottou, L{\\'e}on",
    2017,
    "1701.07875",
    "International Conference on Machine Learning",
)
CONVERGENCE = Paper(
    "mescheder2018training",
    "Which Training Methods for GANs do actually Converge?",
    "Mescheder, Lars and Geiger, Andreas and Nowozin, Sebastian",
    2018,
    "1801.04406",
    "International Conference on Machine Learning",
)
SPECTRAL_NORM = Paper(
    "miyato2018spectral",
    "Spectral Normalization for Generative Adversarial Networks",
    "Miyato, Takeru and Kataoka, Toshiki and Koyama, Masanori and Yoshida, Yuichi",
    2018,
    "1802.05957",
    "International Conference on Learning Representations",
)
BIGGAN = Paper(
    "brock2019large",
    "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
    "Brock, Andrew and Donahue, Jeff and Simonyan, Karen",
    2019,
    "1809.11096",
    "International Conference on Learning Representations",
)
IMPROVED = Paper(
    "salimans2016improved",
    "Improved Techniques for Training GANs",
    "Salimans, Tim and Goodfellow, Ian and Zaremba, Wojciech and Cheung, Vicki and Radford, Alec and Chen, Xi",
    2016,
    "1606.03498",
    "Advances in Neural Information Processing Systems",
)

EBGAN = Paper(
    "zhao2017energy",
    "Energy-based Generative Adversarial Network",
    "Zhao, Junbo and Mathieu, Michael and LeCun, Yann",
    2017,
    "1609.03126",
    "International Conference on Learning Representations",
)
BEGAN = Paper(
    "berthelot2017began",
    "BEGAN: Boundary Equilibrium Generative Adversarial Networks",
    "David Berthelot and Thomas Schumm and Luke Metz",
    2017,
    "1703.10717",
)
LAYERWISE = Paper(
    "su2019layerwise",
    "Layer-wise learning rates and free gradients (in Chinese)",
    "Su, Jianlin",
    2019,
    url="https://kexue.fm/archives/6418",
)
