#!/bin/sh
# Times iterations in processes that only a slow network connects: each has a network namespace of
# its own on this machine, whose device sends no faster than a rate. It needs root.
#
#   sh experiments/distributed/namespaces.sh 100mbit 4 --rounds 30
#
# The first argument is the rate (of tc), the second the number of processes; the rest goes to
# experiments.distributed.step_time.
set -eu
rate=$1 n=$2
shift 2
prefix=effebm$$

clean() {
    for i in $(seq 1 "$n"); do ip netns del "$prefix-$i" 2>/dev/null || true; done
    ip link del "br$$" 2>/dev/null || true
}
trap clean EXIT
trap 'exit 1' INT TERM

ip link add "br$$" type bridge
ip link set "br$$" up
for i in $(seq 1 "$n"); do
    ip netns add "$prefix-$i"
    ip link add "v$$-$i" type veth peer name wire netns "$prefix-$i"
    ip link set "v$$-$i" master "br$$" up
    ip -n "$prefix-$i" addr add "10.77.0.$i/24" dev wire
    ip -n "$prefix-$i" link set wire up
    ip -n "$prefix-$i" link set lo up
    ip netns exec "$prefix-$i" tc qdisc add dev wire root tbf rate "$rate" burst 64kb latency 50ms
done
for i in $(seq "$n"); do
    ip netns exec "$prefix-$i" env GLOO_SOCKET_IFNAME=wire OMP_NUM_THREADS=1 \
        MASTER_ADDR=10.77.0.1 MASTER_PORT=29500 WORLD_SIZE="$n" RANK="$((i - 1))" \
        python -m experiments.distributed.step_time "$@" &
done
wait
