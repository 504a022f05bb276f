"""What test_documents.py does with each command of the documents, as it stands there.

A command is run as a process, in the order of the documents, in a copy of the project where nothing
was made yet. Add an entry for each new command, best `Run()`.
"""

import importlib.util
from typing import NamedTuple


class Run(NamedTuple):
    """Run the command."""

    # (old, new): changes of the command that make it small; each old one has to be in it.
    changes: tuple[tuple[str, str], ...] = ()
    # (regular expression, text): in what it prints and in what the document claims, to take out
    # what differs with small data or on another machine.
    replacements: tuple[tuple[str, str], ...] = ()
    status: int = 0


class RunBy(NamedTuple):
    """Leave the command to another test, whose file holds the marker."""

    file: str
    marker: str


class Left(NamedTuple):
    """Do not run the command."""

    reason: str


Action = Run | RunBy | Left

_QUOTAS = (
    ("--train_per_category=1500", "--train_per_category=20"),
    ("--validation_per_category=300", "--validation_per_category=10"),
    ("--test_per_category=100", "--test_per_category=5"),
)
_INSTALLS = Left("installs packages")
_NO_DOCKER = Left("needs Docker")
_SMALL_STEPS = "--experiments=small --drawings=30 --batch_size=4 --steps=1 --rounds=1"
# It handles SIGTERM a moment after it has printed its address.
_SERVED_AND_STOPPED = (
    "python -m trainer.serve --port=0 > served.txt & "
    "until grep -qs ^open served.txt; do kill -0 $! || exit; sleep 0.1; done; "
    "sleep 1; kill $!; wait $!"
)
# Of few drawings another category is the best.
_BY_SCORE = ((r"^(best|worst) +\w.*", r"\1 CATEGORIES"),)
# In another order; "–" where nothing was taken for the category.
_CATEGORY_ROWS = ((r"^(smiley face|[a-z]+)( +[\d.–]+){4}$", "CATEGORY"),)
# It comes every ten seconds.
_NO_PROGRESS = ((r"^epoch \d+/\d+  step .*", ""), (r"  \(best\)$", ""))
_PREDICTIONS = ((r'"label":"[^"]*"', '"label":"CATEGORY"'),)
# Python 3.10 has no TensorFlow Datasets.
_HAS_TFDS = importlib.util.find_spec("tensorflow_datasets") is not None
_NO_TFDS = () if _HAS_TFDS else ((r"^TensorFlow Datasets .*", ""),)
# Fewer experiments and precisions; which operations take longest depends on machine and size.
_TRAINER_BENCHMARK = (
    (r"\b(demo|small|E\d_\d+)\b(?=,| in)", "EXPERIMENT"),
    (r"^a step of EXPERIMENT in (float32|mixed_bfloat16)", "a step in PRECISION"),
    (r"^(?!ours|usual|other)[a-z ]+?( +\d+\.\d+ s +\d+%)$", r"OPERATION\1"),
    *_NO_TFDS,
)

# Run before all others: the README shows pictures of the demo before it says how to make one, and
# goes on from the demo of made-up drawings.
FIRST = ("make demo DATA=DIR", "make demo")

# By the command, on one line.
COMMANDS: dict[str, Action] = {
    # README: the start
    "make demo": Run((("make demo", "make demo MADE_UP=35"),), _BY_SCORE),
    "make demo DATA=DIR": Run(  # until there is a data set: the rest is that of `make demo`
        (("make demo DATA=DIR", "make -n demo DATA=DIR | sed '/contact_sheet/,$d' | bash -e"),)
    ),
    "source .venv/bin/activate": Run(),
    # Prepare a data set
    "python -m pipeline.main --input='demo/drawings/*.ndjson' --output=data/doodles "
    "--train_per_category=1500 --validation_per_category=300 --test_per_category=100": Run(_QUOTAS),
    "python -m pipeline.main --input='demo/drawings/*.ndjson' --output=data/shares "
    "--validation_share=0.2": Run(),
    "python -m pipeline.verify --dataset=data/doodles": Run(),
    "python -m pipeline.convert --dataset=data/doodles --output=data/parquet --to=parquet": Run(),
    "python -m pipeline.download --labels=pipeline/labels/study20.txt --drawings_per_category=3000 "
    "--output=data/drawings20": Run(
        (
            ("--drawings_per_category=3000", "--drawings_per_category=30"),
            ("pipeline.download", "pipeline.download --base_url=$BUCKET"),
        )
    ),
    "python -m pipeline.main --input='data/drawings20/*.ndjson' "
    "--labels=pipeline/labels/study20.txt --sampling=first --output=data/study20": Run(
        (("--sampling=first", "--sampling=first --train_per_category=20"),),
    ),
    "pip install -e '.[gcp]'": _INSTALLS,
    "python -m pipeline.main --input='gs://BUCKET/drawings/*.ndjson' "
    "--output=gs://BUCKET/data": RunBy(
        "tests/pipeline/test_gcs.py",
        "def test_two_workers_killed_and_run_again_write_what_a_local_run_writes",
    ),
    "python -m trainer.main --dataset=gs://BUCKET/data --run_dir=runs/E2_7": RunBy(
        "tests/pipeline/test_gcs.py",
        "def test_the_trainer_reads_from_gs_what_it_reads_from_a_directory",
    ),
    # On a cluster
    "pip install --constraint constraints.txt -e '.[gcp]'": _INSTALLS,
    "python -m pipeline.main --input='gs://quickdraw_dataset/full/simplified/*.ndjson' "
    "--output=gs://BUCKET/quickdraw --train_per_category=all --runner=DataflowRunner "
    "--project=PROJECT --region=REGION --temp_location=gs://BUCKET/temp "
    "--setup_file=./setup.py": RunBy(
        "tests/pipeline/runners/test_dataflow.py", "def documented_flags"
    ),
    "docker build -f pipeline/worker.Dockerfile -t IMAGE .": _NO_DOCKER,
    "docker push IMAGE": _NO_DOCKER,
    "python -m pipeline.main --finish --output=gs://BUCKET/quickdraw": RunBy(
        "tests/pipeline/runners/test_dataflow.py",
        '["--finish", f"--output={lost.bucket.url}/quickdraw"]',
    ),
    "pip install .": _INSTALLS,
    "python -m apache_beam.runners.worker.worker_pool_main --service_port=50000": RunBy(
        "tests/support/worker_pool.py", "apache_beam.runners.worker.worker_pool_main"
    ),
    "python -m pipeline.main --input='/shared/drawings/*.ndjson' --output=/shared/data "
    "--runner=FlinkRunner --flink_master=HOST:8081 --parallelism=2 --environment_type=EXTERNAL "
    "--environment_config=localhost:50000 --environment_cache_millis=60000": RunBy(
        "tests/engines/test_flink.py", "--flink_master="
    ),
    "python -m pipeline.main --input='/shared/drawings/*.ndjson' --output=/shared/data "
    "--runner=SparkRunner --spark_master_url=spark://HOST:7077 --environment_type=EXTERNAL "
    "--environment_config=localhost:50000 --environment_cache_millis=60000": RunBy(
        "tests/engines/test_spark.py", "--spark_master_url="
    ),
    "python -m apache_beam.runners.portability.local_job_service_main --port=50001": RunBy(
        "tests/support/worker_pool.py", "apache_beam.runners.portability.local_job_service_main"
    ),
    "python -m pipeline.main --input='demo/drawings/*.ndjson' --output=data/portable "
    "--runner=PortableRunner --job_endpoint=localhost:50001 --environment_type=EXTERNAL "
    "--environment_config=localhost:50000": RunBy(
        "tests/pipeline/runners/test_portable_runner.py", '"--environment_type=EXTERNAL"'
    ),
    "GOBIN=$PWD/bin go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0": RunBy(
        "tests/engines/prism.py", "github.com/apache/beam/sdks/v2/go/cmd/prism"
    ),
    "python -m pipeline.main --input='demo/drawings/*.ndjson' --output=data/prism "
    "--runner=PrismRunner --prism_location=bin/prism": RunBy(
        "tests/engines/test_prism.py", "--prism_location="
    ),
    "make test-engines": Left("downloads the engines"),
    # CONTRIBUTING
    "make test": Run((("make test", "make --dry-run test > test.txt"),)),  # this is a part of it
    "make test PYTHON=python3.13": Left("`make test` with another interpreter"),
    "make test-slow": Run((("make test-slow", "make --dry-run test-slow > test.txt"),)),
    # What it costs
    "make bench-pipeline DATA=DIR": Run((("DATA=DIR", "DATA=DIR FLAGS=--drawings=3300"),)),
    "make bench-growth DATA=DIR": Run(
        (("make bench-growth", 'TMPDIR="$ODD" make bench-growth FLAGS=--drawings=500,1000'),)
    ),
    # Train
    "python -m trainer.main --dataset=data/doodles --run_dir=runs/doodles --experiment=small "
    "--epochs=2": Run(replacements=_NO_PROGRESS),
    "python -m trainer.main --dataset=data/shares --run_dir=runs/tuned --init_from=runs/doodles "
    "--freeze=blocks_c --epochs=1": Run(),
    "tensorboard --logdir=runs": Run(  # no server
        (
            (
                "tensorboard",
                "command -v tensorboard > where.txt && python -m tensorboard.main --inspect",
            ),
        )
    ),
    'TF_CONFIG=\'{"cluster": {"worker": ["HOST1:2222", "HOST2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}\' '
    "python -m trainer.main --dataset=data/doodles --run_dir=runs/doodles": RunBy(
        "tests/trainer/hardware/test_hosts.py", '"TF_CONFIG": cluster(index, ports)'
    ),
    "python -m trainer.main --experiment=E2_7 --summary": Run(),
    "python -m trainer.main --help": Run(),
    "python -m trainer.evaluate --run_dir=runs/doodles --split=test --mirror "
    "--output=runs/test.json": Run(),
    "python -m analysis.mistakes --evaluation=runs/test.json -o runs/test_mistakes.png": Run(),
    "python -m analysis.report runs/doodles --evaluation=runs/test.json -o runs/test.html": Run(),
    "python -m trainer.serve": Run((("python -m trainer.serve", _SERVED_AND_STOPPED),)),
    "python -m trainer.export --run_dir=runs/doodles": Run(),
    "python -m trainer.export --formats=web --output=data/page": Run(
        (("--formats=web", "--formats=web --litertjs=LITERTJS"),)
    ),
    "head -n 2 demo/drawings/sun.ndjson | python -m trainer.predict -": Run(),
    "head -n 2 demo/drawings/sun.ndjson | python -m trainer.predict --run_dir=runs/doodles -": Run(
        replacements=_PREDICTIONS
    ),
    "head -n 2 demo/drawings/sun.ndjson | "
    "python -m trainer.predict --model=runs/doodles/export/model_int8.tflite -": Run(
        replacements=_PREDICTIONS
    ),
    "python -m trainer.sweep --dataset=data/doodles --run_dir=runs/sweep --experiments=small,E3_8 "
    "--epochs=1": Run((("small,E3_8", "small"),)),
    "make results DATA=DRAWINGS FLAGS='--experiments=small --recipes=fast --epochs=2'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=small --recipes=best --epochs=48 --seeds=2 "
    "--train_per_category=25,50,100,200 --validation_per_category=200'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=medium --recipes=best --epochs=48 "
    "--learning_rate=2e-3 --seeds=2 --train_per_category=25,50,100 --validation_per_category=200 "
    "--init_from=results/pretrained'": Run(
        (
            ("--epochs=48", "--epochs=1"),
            ("--seeds=2", "--seeds=1"),
            ("=25,50,100", "=41,45"),
            ("validation_per_category=200", "validation_per_category=9"),
        ),
        ((r" ± [\d.]+", ""), (r"(small|medium) \| best[^|]*", "EXPERIMENT | RECIPE ")),
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=small --recipes=fast,best'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=E3_8 --recipes=study,best --seeds=1'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=E3_8 --recipes=best --seeds=1'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=medium --recipes=best'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=large --recipes=best --seeds=1'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=medium --recipes=best --epochs=8 "
    "--learning_rate=2e-3 --init_from=results/pretrained'": Left(
        "the same with --epochs and numbers of drawings"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=medium --recipes=best --epochs=8 "
    "--learning_rate=2e-3 --seeds=3 --init_from=results/pretrained'": Left(
        "the same with --epochs and numbers of drawings"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=medium --recipes=best --seeds=1 "
    "--train_per_category=190 --validation_per_category=10'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=large --recipes=best --epochs=4 --seeds=1 "
    "--train_per_category=190 --validation_per_category=10'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make results DATA=DRAWINGS FLAGS='--experiments=E3_8 --recipes=study --epochs=2 --seeds=1 "
    "--train_per_category=190 --validation_per_category=10'": Left(
        "`make results DATA=DIR`, with other flags"
    ),
    "make pretrained DATA=DRAWINGS": Left("`make pretrained DATA=DIR`, with another directory"),
    "make results DATA=DIR": Run(
        (
            (
                "DATA=DIR",
                'DATA=DIR FLAGS="--train_per_category=40 --validation_per_category=10 '
                '--experiments=small --seeds=1 --epochs=1"',
            ),
        ),
        ((r" ± [\d.]+", ""), (r"\| best \|", "| fast |")),  # a seed and a recipe
    ),
    "make trials DATA=DIR": Run(
        (
            (
                "DATA=DIR",
                "DATA=DIR FLAGS='--train_per_category=40 --validation_per_category=4 --seconds=0.1 "
                '--seeds=1 --trials="none,mirrored in every other epoch,cutmix"\'',
            ),
        ),
        # Data is made first; a seed and three changes.
        ((r"^[^|].*", ""), (r"^\| [^|]+ \|", "| CHANGE |"), (r" ± [\d.]+", "")),
    ),
    "make pretrained DATA=DIR": Run(
        (
            (
                "DATA=DIR",
                "DATA=DIR FLAGS='--train_per_category=40 --validation_per_category=4 --epochs=2 "
                "--package=results/package'",  # the project's own stays
            ),
        )
    ),
    "python -m trainer.evaluate --run_dir=results/pretrained --checkpoint=last --mirror": Run(),
    "cat DRAWINGS/*.ndjson | python -m trainer.predict --format=csv - | awk -F, "
    "'NR > 1 {n++; right += $2 == $4} "
    'END {printf "%d drawings, top-1 %.3f\\n", n, right / n}\'': Run(),
    "python -m analysis.mistakes results/pretrained --label_errors=results/label_errors.csv": Run(),
    "make bench-serve DATA=DIR": Run(
        (("DATA=DIR", "DATA=DIR FLAGS='--seconds=0.2 --malformed=50'"),),
    ),
    "make bench-web DATA=DIR": RunBy("tests/benchmarks/test_web.py", '"benchmarks.web"'),
    "make bench-trainer DATA=DIR": Run(
        (
            (
                "DATA=DIR",
                "DATA=DIR FLAGS='--parts=input,training,memory --memory_drawings=30 "
                f"{_SMALL_STEPS}'",
            ),
        ),
        _TRAINER_BENCHMARK,
    ),
    "make bench-trainer DATA=DIR "
    "FLAGS='--parts=batch_norm --experiments=small,E3_8 --drawings=20000'": Run(
        (("--experiments=small,E3_8 --drawings=20000", _SMALL_STEPS),), _TRAINER_BENCHMARK
    ),
    # Analyse
    "python -m analysis.report runs/doodles": Run(),
    "python -m analysis.report runs/doodles runs/sweep -o runs/report.html": Run(),
    "python -m analysis.mistakes runs/doodles --table=runs/mistakes.csv "
    "--label_errors=runs/label_errors.csv": Run(),
    "python -m analysis.confusion runs/doodles -o runs/confusion.png": Run(),
    "python -m analysis.compare runs/doodles runs/sweep --table=runs/runs.md,runs/runs.csv "
    "-o runs/runs.png": Run(),
    "python -m analysis.strokes demo/drawings/sun.ndjson --drawings=4 -o data/sun.png": Run(),
    "python -m analysis.plot_histories --group=all --reference --separate -o runs/study.pdf": Run(),
    # WORKSPACE
    "pip install --upgrade": _INSTALLS,
    "pip freeze": Left("is pip's own"),
    "python -m cProfile -s tottime -m pipeline.main … --direct_num_workers=1": Run(
        (("…", "--input='DRAWINGS/*.ndjson' --output=data/profiled --validation_share=0.2"),)
    ),
    # Makefile
    "make bench-pipeline": Run(status=2),  # says that it needs DATA
    "make bench-growth": Run(status=2),
    "make bench-trainer": Run(status=2),
    "make bench-serve": Run(status=2),
    "make bench-web": Run(status=2),
    "make results": Run(status=2),
    "make trials": Run(status=2),
    "make pretrained": Run(status=2),
    "make draw": RunBy("tests/trainer/test_serve.py", '"make", "--dry-run", "draw"'),
    "make clean": Run(),
}
