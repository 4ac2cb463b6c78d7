"""Recipes of public corpora: addresses, checksums, licences and formats of their files."""

from dataclasses import dataclass

from seqgen import corpora
from seqgen.core.errors import UserError, did_you_mean


@dataclass(frozen=True)
class File:
    """One file of a recipe."""

    url: str
    name: str
    """Name of the downloaded file."""
    size: int
    """In bytes."""
    sha256: str
    pickled: bool = False
    """The address has a pickle of an oracle's weights, which is converted to .npz: size and SHA-256 are those
    of the weights themselves (`seqgen.corpora.oracle_weights`)."""


@dataclass(frozen=True)
class Recipe:
    """How to download a public corpus and read it."""

    name: str
    title: str
    files: tuple[File, ...]
    licence: str
    format: str
    """How sentences (or images, or weights) are stored in the files."""
    next_command: str
    """A command to run next; {folder} is the folder of the files."""


def _files(address: str, *rows: tuple[str, str, int, str]) -> tuple[File, ...]:
    """Return files whose addresses differ in one part, {}: that part, name, size and SHA-256 of each."""
    return tuple(File(address.format(part), name, size, sha256) for part, name, size, sha256 in rows)


TEXYGEN = "https://raw.githubusercontent.com/geek-ai/Texygen/master"
NEWS = "https://raw.githubusercontent.com/pclucas14/GansFallingShort/master/real_data_experiments/data/news"
RAW = "https://raw.githubusercontent.com"
NAMES = "https://cdn.jsdelivr.net/npm/@stdlib"
MOSES = "https://media.githubusercontent.com/media/molecularsets/moses"
MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist"
CIFAR = "https://huggingface.co/datasets/uoft-cs/cifar10/resolve/main/plain_text"

LINES = "UTF-8, a sentence a line"

RECIPES = (
    Recipe(
        name="coco",
        title="COCO image captions, Texygen's split that published tables use: 10,000 + 10,000 sentences",
        files=(
            File(
                f"{TEXYGEN}/data/image_coco.txt",
                "coco_train.txt",
                546442,
                "2c0fd1f0f43aac6a9dc3926a535516ccf395de535e15ac1fd17cd569420736f5",
            ),
            File(
                f"{TEXYGEN}/data/testdata/test_coco.txt",
                "coco_test.txt",
                536184,
                "72e25c9fb4d2cd43182ac602c92f6ffc377762147f9709572943b0b09174bcae",
            ),
        ),
        licence="captions CC BY 4.0 (COCO Consortium), the repository MIT (Texygen)",
        format=f"{LINES}, the last without newline; lower case, punctuation attached to the word before",
        next_command="seqgen pretrain --corpus {folder}/coco_train.txt --test {folder}/coco_test.txt",
    ),
    Recipe(
        name="news",
        title="WMT 2017 news, the split of Language GANs Falling Short: 10,000 + 10,000 sentences",
        files=_files(
            f"{NEWS}/{{}}.txt",
            (
                "valid",
                "news_train.txt",
                1350298,
                "e66a6fdd1f6cb15cb8f851051e5c49062270e0de1e69213289ce50b88a1d7281",
            ),
            (
                "test",
                "news_test.txt",
                1326837,
                "e1ba37a752bc8fba6d9743898b30bb36119cc665cd35b229060bf5f75a94837d",
            ),
        ),
        licence="not stated (news of the WMT 2017 shared task; the repository has no licence)",
        format=f"{LINES}; words and marks are separated by spaces; valid.txt serves as the training file",
        next_command="seqgen pretrain --corpus {folder}/news_train.txt --test {folder}/news_test.txt",
    ),
    Recipe(
        name="poems",
        title="16,394 classical Chinese poems of four lines, a character a token",
        files=(
            File(
                f"{TEXYGEN}/data/shi.txt",
                "poems.txt",
                1590217,
                "ac03c5fbb07776f0e43cb1ccfc74732f5313ab3d832df81c8e0db327df35e666",
            ),
        ),
        licence="MIT (Texygen); the poems themselves are in the public domain",
        format=f"{LINES}; characters and marks are separated by spaces: the word tokenizer reads characters",
        next_command="seqgen pretrain --corpus {folder}/poems.txt --tokenizer word",
    ),
    Recipe(
        name="names",
        title="8,800 English first names, a name a line (the Moby lists)",
        files=_files(
            f"{NAMES}/datasets-{{}}-first-names-en@0.2.3/data/names.txt",
            (
                "female",
                "female.txt",
                35153,
                "f2ee53b7adf88a44c0ffaa5aa549e749ac6bd95e813cb68213145276b8efd8c9",
            ),
            ("male", "male.txt", 26609, "35cf3ca775b204f7a67a6a25f651e7149ea0f0d22ffad9d366e680fe948ca38e"),
        ),
        licence="CC0 1.0 (stdlib, from Moby Word II, which is in the public domain)",
        format="ASCII, a name a line in alphabetic order, in a file of female and one of male names",
        next_command="seqgen pretrain --corpus {folder}",
    ),
    Recipe(
        name="molecules",
        title="1,584,663 + 176,074 drug-like molecules as SMILES, the split of the MOSES benchmark",
        files=(
            File(
                f"{MOSES}/3926d40b816808d0eabd47c01905d2f5d1390d87/data/train.csv",
                "train.csv",
                67916778,
                "49fe1aae29604ec0f5023ea34edc8789415f954138f2903dabd005a4b888a961",
            ),
            File(
                f"{MOSES}/09e8a3154deff0d11e60f1810a177735c6770a6f/data/test.csv",
                "test.csv",
                7370473,
                "257165e8f1e1be2d5712db51c93d2b1544564b782dc303d7d19c887c21a858e6",
            ),
        ),
        licence="MIT (MOSES); the molecules are of ZINC, which is free for everyone to use",
        format="CSV with the columns SMILES and SPLIT",
        next_command="seqgen pretrain --corpus {folder}/train.csv --test {folder}/test.csv --column SMILES",
    ),
    Recipe(
        name="logs",
        title="2,000 lines of the log of a Hadoop file system (Loghub's sample of HDFS)",
        files=(
            File(
                f"{RAW}/logpai/loghub/dd61d0952749ee7963bde24220d1be5ede023033/HDFS/HDFS_2k.log",
                "hdfs.log",
                287848,
                "7c967000980c086ed55fa6544ba4f05fe66d44622795e890c68caf8bbb635035",
            ),
        ),
        licence="for research and academic work, citing Zhu et al. 2023 (Loghub)",
        format="ASCII, a line of the log a line",
        next_command="seqgen pretrain --corpus {folder}/hdfs.log",
    ),
    Recipe(
        name="tweets",
        title="45,615 + 12,284 tweets, those of TweetEval's sentiment task",
        files=_files(
            f"{RAW}/cardiffnlp/tweeteval/main/datasets/sentiment/{{}}_text.txt",
            (
                "train",
                "tweets_train.txt",
                4970029,
                "368f01052ea6fd8ffc408a2a2e6ac9669e31542581a0396ef16591ea26eb98a6",
            ),
            (
                "test",
                "tweets_test.txt",
                1156877,
                "09a93a55c63fd93f97485ef7302889d7edb4091cd49733aa37da094f0bfa0675",
            ),
        ),
        licence="not stated (tweets of SemEval 2017, under the terms of the service that they are from)",
        format="UTF-8, a tweet a line; users are @user",
        next_command="seqgen pretrain --corpus {folder}/tweets_train.txt --test {folder}/tweets_test.txt",
    ),
    Recipe(
        name="verses",
        title="892 + 104 verses of English poems, labelled by sentiment: -1, 0, 1, and 2 where it is mixed",
        files=_files(
            f"{RAW}/google-research-datasets/poem-sentiment/master/data/{{}}.tsv",
            ("train", "train.tsv", 40567, "09503a850796736a8e63504ae2c8de983f57dceebc2342ea93a7f7ad06af56d0"),
            ("test", "test.tsv", 4556, "a406d87b62a6b7c9615468a8b66e69c027fa8f2f03a4f8f6c79df26c260de620"),
        ),
        licence="CC BY 4.0 (Sheng and Uthus 2020); the poems are in the public domain",
        format="TSV without a header: number, verse, label",
        next_command=(
            "seqgen pretrain --corpus {folder}/train.tsv --test {folder}/test.tsv --column 2 --label-column 3"
        ),
    ),
    Recipe(
        name="topics",
        title="120,000 + 7,600 news titles (AG's corpus), labelled 1 world, 2 sports, 3 business, 4 science",
        files=_files(
            f"{RAW}/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/{{}}.csv",
            (
                "train",
                "train.csv",
                29470338,
                "76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e",
            ),
            ("test", "test.csv", 1857427, "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699"),
        ),
        licence="for research, not for commerce (Antonio Gulli; split by Zhang et al. 2015)",
        format="CSV without a header, every field in quotes: label, title, description",
        next_command=(
            "seqgen pretrain --corpus {folder}/train.csv --test {folder}/test.csv --column 2 --label-column 1"
        ),
    ),
    Recipe(
        name="restaurants",
        title="42,061 + 4,693 descriptions of restaurants, each with the facts that it was written from",
        files=_files(
            f"{RAW}/tuetschek/e2e-dataset/master/{{}}.csv",
            (
                "trainset",
                "train.csv",
                9340189,
                "f27d48df45815288ab15619d47a79028c300fbb7f42e373668aba0b98c1d57c6",
            ),
            (
                "testset_w_refs",
                "test.csv",
                1310822,
                "edc8db685e39bb9824d5bd70c18b1c9b0412d14b527aa960e2d1c8251ee15ccd",
            ),
        ),
        licence="CC BY-SA 4.0 (the E2E challenge, Novikova et al. 2017)",
        format="CSV with the columns mr, such as name[The Mill], food[English], and ref, the description",
        next_command=(
            "seqgen pretrain --corpus {folder}/train.csv --test {folder}/test.csv --column ref "
            "--source-column mr"
        ),
    ),
    Recipe(
        name="texygen-samples",
        title="samples of six models for Texygen's published COCO table, 9,984 sentences each",
        files=_files(
            f"{TEXYGEN}/docs/instances/{{}}.txt",
            (
                "leakgan",
                "leakgan.txt",
                505716,
                "e3aa1b08801c5f5e84c1b1a9470e68860a833a19e48e4dbaa3637be24fde9ed8",
            ),
            (
                "maligan",
                "maligan.txt",
                580918,
                "493d672fae4d676532b252ba70b2133523d17ae9c9c84e01dd3dbb8b33771b95",
            ),
            ("mle", "mle.txt", 599409, "e80736112f9cf8ad3a9c3dbc0c9fba15252a415bfb4e2c4167e5aac6da71569c"),
            ("rank", "rank.txt", 515457, "c7ab24a5442874f6824b2ea301c3483a40c927277dae967c94d26bad96a775ed"),
            ("seq", "seq.txt", 579128, "ac724272107b33d2c6d40c8a003ba29e856a09b0f2f77a921e486ed1d4a6d26c"),
            (
                "textgan",
                "textgan.txt",
                256621,
                "b11ae70a638eb71bb49b669bd305cceaca430782b52c4538fe1864bd2229bd15",
            ),
        ),
        licence="MIT (Texygen)",
        format=f"{LINES}; split into words and marks by spaces, some lines end in a space",
        next_command="seqgen evaluate --hyp {folder}/mle.txt --ref coco_test.txt",
    ),
    Recipe(
        name="mnist",
        title="MNIST, 60,000 + 10,000 handwritten digits of 28 x 28 grey pixels (images)",
        files=_files(
            f"{MNIST}/{{}}-ubyte.gz",
            (
                "train-images-idx3",
                "train-images-idx3-ubyte.gz",
                9912422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            (
                "train-labels-idx1",
                "train-labels-idx1-ubyte.gz",
                28881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            (
                "t10k-images-idx3",
                "t10k-images-idx3-ubyte.gz",
                1648877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            (
                "t10k-labels-idx1",
                "t10k-labels-idx1-ubyte.gz",
                4542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        licence="not stated by its authors (Yann LeCun and Corinna Cortes); often given as CC BY-SA 3.0",
        format="gzipped IDX: a big-endian header of 16 bytes (images) or 8 (labels), a byte a pixel or label",
        next_command="seqgen image train --data {folder}",
    ),
    Recipe(
        name="cifar10",
        title="CIFAR-10, 50,000 + 10,000 colour photographs of 32 x 32 pixels in ten classes (images)",
        files=(
            File(
                f"{CIFAR}/train-00000-of-00001.parquet",
                "train.parquet",
                119705255,
                "8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883",
            ),
            File(
                f"{CIFAR}/test-00000-of-00001.parquet",
                "test.parquet",
                23940850,
                "841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de",
            ),
        ),
        licence="not stated (its dataset card says unknown)",
        format="Parquet; column img holds PNG bytes {bytes, path}, column label the class 0 to 9",
        next_command="seqgen image train --data {folder}",
    ),
    Recipe(
        name="seqgan-oracle",
        title="the LSTM whose samples are the synthetic data of the SeqGAN paper, by its exact weights",
        files=(
            File(
                "https://raw.githubusercontent.com/LantaoYu/SeqGAN/master/save/target_params_py3.pkl",
                "seqgan_oracle_lstm.npz",
                1333280,
                "298da365e646713fbbc357af52d01f72be6f0a99bb265555cfe8e5f38c0ea986",
                pickled=True,
            ),
        ),
        licence="not stated (the repository of the paper's code has no licence)",
        format="a pickle of NumPy arrays, read without running code and kept as .npz",
        next_command="seqgen pretrain --corpus oracle:{folder}/seqgan_oracle_lstm.npz",
    ),
)


def get_recipe(name: str) -> Recipe:
    """Return a recipe; raise UserError with the nearest name if there is none of that name."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    if name in corpora.names():
        raise UserError(f"'{name}' is built in and needs no download: give --corpus {name}")
    raise UserError(f"no recipe '{name}'{did_you_mean(name, [recipe.name for recipe in RECIPES])}")
