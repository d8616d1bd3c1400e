#!/usr/bin/env bash
# Pretrains on a GPU machine that is there for minutes and reaches no network.
#
#   tools/gpu_pretrain.sh prepare [corpus]          here: fills .gpu/ with what has to travel
#   OUT=/out tools/gpu_pretrain.sh run [options]    there: trains, results in $OUT
#   tools/gpu_pretrain.sh unpack FOLDER             here: puts what came back into weights/
#
# Options of run: --seconds=540 --small-seconds=200 --sizes small full base; --tiny tries all of it
# in little, on a CPU too. docs/pretraining.md says more.
set -euo pipefail
cd "$(dirname "$0")/.."

TRAVELS=60 # MiB
# What a machine with JAX, Flax, Optax, Orbax, Pillow, SciPy, safetensors and tqdm still lacks.
WHEELS=(
  array-record==0.8.6 clu==0.0.12 grain==0.2.18 ml-collections==1.1.0 portpicker==1.6.0
  tensorboardX==2.6.5
)

prepare() {
  local corpus=${1:-corpus}
  mkdir -p .gpu
  if [[ ! -f .gpu/corpus.zip ]]; then
    rm -rf .gpu/corpus
    PYTHONPATH=$PWD python tools/corpus.py "$corpus" --pack=.gpu/corpus --size=256 --quality=55
    (cd .gpu/corpus && python -m zipfile -c ../corpus.part test train)
    mv .gpu/corpus.part .gpu/corpus.zip
    rm -r .gpu/corpus
  fi
  rm -rf .gpu/wheels
  python -m pip download --quiet --no-deps --only-binary=:all: --dest .gpu/wheels \
    --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 "${WHEELS[@]}"
  local tree gpu
  tree=$(git ls-files -z --cached --others --exclude-standard | du -bc --files0-from=- | tail -1)
  gpu=$(du -bs .gpu)
  ls -l .gpu .gpu/wheels
  echo "working tree: ${tree%%[^0-9]*} bytes; .gpu: ${gpu%%[^0-9]*} bytes"
  if ((${tree%%[^0-9]*} + ${gpu%%[^0-9]*} > TRAVELS * 2 ** 20)); then
    echo "more than $TRAVELS MiB together; take something out of the tree, as weights/" >&2
    exit 1
  fi
}

run() {
  local site=$PWD/build/gpu_site data=$PWD/build/gpu_corpus
  python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --target "$site" .gpu/wheels/*.whl
  if [[ ! -d $data ]]; then
    python3 -m zipfile -e .gpu/corpus.zip "$data.part"
    mv "$data.part" "$data"
  fi
  export PYTHONPATH=$site:$PWD PYTHONUNBUFFERED=1
  exec python3 tools/gpu_pretrain.py --data=build/gpu_corpus --out="${OUT:?give a folder}" "$@"
}

unpack() {
  python tools/pieces.py "${1:?give the folder with what came back}" weights
  cp "$1/speed.json" weights/
}

case ${1:-} in
  prepare | run | unpack) "$@" ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
