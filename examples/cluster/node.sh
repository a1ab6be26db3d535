#!/usr/bin/env bash
# One node of a training run: some of its GPUs train the policy (torchrun), the others score videos (Ray).
# Start it on every node with the same options but for --node; README.md has whole commands. It ends with an error when
# this node's ranks do; else node 0 ends when its ranks have, the others when node 0 has: their GPUs may still score.
set -euo pipefail

usage() {
  cat <<'END'
node.sh --head HOST --nodes N --node K --policy-gpus P --reward-gpus R [options] -- [what follows worldr1 train]

  --head HOST         name or address of node 0, as the other nodes reach it
  --nodes N           nodes with policy GPUs; they are numbered 0 to N - 1
  --node K            this node's number; nodes that only score have numbers from N on
  --policy-gpus P     GPUs of this node that train: the first P of it; 0 on a node that only scores
  --reward-gpus R     GPUs of this node that score: the next R; 0 on a node that only trains
  --run-id NAME       the same on all nodes and another one for every run          (default: worldr1)
  --ray-port PORT     of the head's Ray                                            (default: 6379)
  --torch-port PORT   of torch.distributed on the head                             (default: 29500)
  --restarts N        times that torchrun starts all ranks again if one has died   (default: 0)
  --object-gib N      GiB of host memory for videos on their way; 0: what Ray takes, 30 % of the memory (default: 0)

RAY_AUTH_TOKEN_PATH must name a file with the run's token, readable on every node and by you alone: whoever reaches a
Ray without one can run code on it.
END
}

fail() {
  echo "node.sh: $1" >&2
  exit 2
}

head="" nodes="" node="" policy_gpus="" reward_gpus=""
run_id=worldr1 ray_port=6379 torch_port=29500 restarts=0 object_gib=0
while [[ $# -gt 0 ]]; do
  case "$1" in
    --help) usage && exit 0 ;;
    --) shift && break ;;
    --head | --nodes | --node | --policy-gpus | --reward-gpus | --run-id | --ray-port | --torch-port | --restarts | --object-gib)
      [[ $# -ge 2 ]] || fail "$1 needs a value"
      name="${1#--}"
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    *) fail "unknown option $1; --help lists them, and worldr1's own follow after --" ;;
  esac
done
for name in head nodes node policy_gpus reward_gpus; do
  [[ -n "${!name}" ]] || fail "--${name//_/-} is missing"
done
for name in nodes node policy_gpus reward_gpus ray_port torch_port restarts object_gib; do
  [[ "${!name}" =~ ^[0-9]+$ ]] || fail "--${name//_/-} is ${!name}: give a whole number"
done
((policy_gpus + reward_gpus > 0)) || fail "this node would do nothing: give it policy or reward GPUs"
if ((node < nodes)); then
  ((policy_gpus > 0)) || fail "node $node of $nodes trains: give it policy GPUs, or a number from $nodes on"
else
  ((policy_gpus == 0)) || fail "node $node is none of the $nodes that train: --policy-gpus must be 0"
fi
[[ -r "${RAY_AUTH_TOKEN_PATH:-}" ]] || fail "RAY_AUTH_TOKEN_PATH names no file that can be read; README.md makes one"

# The first P of the GPUs that this job was given train, the next R score.
IFS=, read -r -a gpus <<<"${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((policy_gpus + reward_gpus - 1)))}"
((${#gpus[@]} >= policy_gpus + reward_gpus)) ||
  fail "$policy_gpus + $reward_gpus GPUs are more than the ${#gpus[@]} that this node has (CUDA_VISIBLE_DEVICES)"
joined() { local IFS=, && echo "$*"; }
policy_devices=$(joined "${gpus[@]:0:policy_gpus}")
reward_devices=$(joined "${gpus[@]:policy_gpus:reward_gpus}")

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0

# Every node needs a Ray, also one that only trains: its ranks hand their videos to it. It knows the scoring GPUs only.
ray_options=(--num-gpus="$reward_gpus" --disable-usage-stats --block)
((object_gib == 0)) || ray_options+=(--object-store-memory="$((object_gib * 1024 ** 3))")
if ((node == 0)); then
  ray_options+=(--head --port="$ray_port" --include-dashboard=false)
else
  ray_options+=(--address="$head:$ray_port")
fi
CUDA_VISIBLE_DEVICES="$reward_devices" ray start "${ray_options[@]}" &
ray_pid=$!
# Not `ray stop`, which would end the Rays of other jobs on this node too.
trap 'kill -TERM "$ray_pid" 2>/dev/null || true; wait "$ray_pid" 2>/dev/null || true' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

score_until_the_head_is_gone() {
  wait "$ray_pid" || true # a Ray that has lost its head ends with an error
  exit 0
}
((policy_gpus > 0)) || score_until_the_head_is_gone

export RAY_ADDRESS="$head:$ray_port" # not in the recipe, so that a resumed run may be elsewhere

until ray status >/dev/null 2>&1; do
  kill -0 "$ray_pid" 2>/dev/null || fail "this node's Ray has ended; its messages are above"
  sleep 2
done

CUDA_VISIBLE_DEVICES="$policy_devices" torchrun \
  --nnodes="$nodes" --node-rank="$node" --nproc-per-node="$policy_gpus" \
  --rdzv-id="$run_id" --master-addr="$head" --master-port="$torch_port" --max-restarts="$restarts" \
  -m worldr1 train "$@" &
torchrun_pid=$!
stop() { # $1: the signal, $2: the exit code
  trap '' TERM INT
  kill -"$1" "$torchrun_pid" 2>/dev/null || true
  wait "$torchrun_pid" || true
  exit "$2"
}
trap 'stop TERM 143' TERM
trap 'stop INT 130' INT
wait "$torchrun_pid"
((node == 0)) || score_until_the_head_is_gone
