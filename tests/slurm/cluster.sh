#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A private SLURM for tests: a controller and several node daemons on this machine, which talk over the loopback
# interface; nothing outside the given folder is written, nothing is started by the system.
#
#   tests/slurm/cluster.sh up FOLDER [nodes] [cores per node]     then: source FOLDER/environment
#   tests/slurm/cluster.sh down FOLDER
#   tests/slurm/cluster.sh kill FOLDER NODE      the daemon and all that runs on the node, as when it loses power
#   tests/slurm/cluster.sh start FOLDER NODE     a node that was killed
#
# Nodes are t1, t2, …; the account "refused" is refused, the partition "closed" is for another account than anyone's.
# All folders above it must let everyone pass (munged insists). Needs root and Debian's packages slurm-wlm and munge. Exit code 77: it cannot be started here; the reason is on stderr.
set -u

cannot() { echo "no SLURM here: $*" >&2; exit 77; }
usage() { sed -n '5,8p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
command=$1
folder=$(realpath -m "$2")
nodes=${3:-2}
cores=${4:-2}
PATH=$PATH:/usr/sbin:/sbin

# Ends the daemons of this folder only, by the process numbers they wrote.
down() {
    local file process
    for file in "$folder"/run/node*.pid "$folder/run/controller.pid" "$folder/run/munge.pid"; do
        [ -s "$file" ] || continue
        process=$(<"$file")
        kill "$process" 2>/dev/null || continue
        for _ in {1..60}; do kill -0 "$process" 2>/dev/null || break; sleep 0.1; done
    done
}

# Nodes are told apart by their host names, and OpenMPI's shared memory must not be seen by another "node".
start_node() {
    unshare --uts --mount bash -c "hostname $1 && mount -t tmpfs tmpfs /dev/shm && mount --bind '$folder/hosts' /etc/hosts && exec slurmd -N $1"
}

# What runs on a node has the node's host name.
kill_node() {
    local name entry
    name=$(readlink "/proc/$(<"$folder/run/node$1.pid")/ns/uts") || { echo "$1 is not up" >&2; exit 1; }
    for entry in /proc/[0-9]*; do
        [ "$(readlink "$entry/ns/uts" 2>/dev/null)" = "$name" ] && kill -9 "${entry#/proc/}" 2>/dev/null
    done
    rm -rf "$folder/run/node$1.pid" "$folder/tmp-$1"/*
}

case $command in
kill)
    [ $# -eq 3 ] || usage
    kill_node "$3"
    exit 0
    ;;
start)
    [ $# -eq 3 ] || usage
    . "$folder/environment"
    start_node "$3"
    exit
    ;;
down)
    [ -e "$folder/environment" ] && . "$folder/environment" && scancel --user=root 2>/dev/null && sleep 1
    down
    exit 0
    ;;
up) ;;
*) usage ;;
esac

[ "$(id -u)" -eq 0 ] || cannot "root is needed"
for program in munged slurmctld slurmd sinfo unshare; do
    command -v "$program" >/dev/null || cannot "$program is not installed (packages slurm-wlm, munge)"
done
[ -e "$folder" ] && { echo "$folder exists" >&2; exit 2; }
mkdir -p "$folder"/{run,log,state,key}
chmod 755 "$folder"
chmod 711 "$folder/key" || cannot "$folder: no permissions"

head -c 1024 /dev/urandom >"$folder/key/munge"
chmod 600 "$folder/key/munge"
munged --key-file="$folder/key/munge" --socket="$folder/key/socket" --pid-file="$folder/run/munge.pid" \
    --log-file="$folder/log/munge" --seed-file="$folder/key/seed" || cannot "munged does not start"

# A port range of its own, so that several folders may be up at once.
port=$((20000 + $$ % 4000 * 10))
cat >"$folder/slurm.conf" <<CONF
ClusterName=xrdct
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$folder/key/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
TmpFS=$folder/tmp-%n
SlurmctldPidFile=$folder/run/controller.pid
SlurmdPidFile=$folder/run/node%n.pid
SlurmctldLogFile=$folder/log/controller
SlurmdLogFile=$folder/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog=$folder/prolog
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,batch_sched_delay=0
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ReturnToService=2
SlurmdTimeout=20
KillWait=5
JobRequeue=1
MailProg=/bin/true
JobSubmitPlugins=lua
CONF
# 2045: SLURM's number of an invalid account.
cat >"$folder/job_submit.lua" <<'LUA'
function slurm_job_submit(job, partitions, user)
    if job.account == "refused" then return 2045 end
    return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, user) return slurm.SUCCESS end
LUA
for ((i = 1; i <= nodes; ++i)); do
    # PMIx of SLURM makes folders named after the job there, and starts nothing where one is left.
    mkdir -p "$folder/spool-t$i" "$folder/tmp-t$i"
    chmod 1777 "$folder/tmp-t$i"
    echo "NodeName=t$i NodeHostname=t$i NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=$cores RealMemory=4000" >>"$folder/slurm.conf"
done
echo "PartitionName=closed Nodes=ALL AllowAccounts=others MaxTime=120 State=UP" >>"$folder/slurm.conf"
echo "PartitionName=main Nodes=ALL Default=YES MaxTime=120 State=UP" >>"$folder/slurm.conf"
echo "CgroupPlugin=cgroup/v1" >"$folder/cgroup.conf"
# The ranks of all nodes share one network interface.
cat >"$folder/prolog" <<'PROLOG'
#!/bin/sh
echo export OMPI_MCA_btl_tcp_if_include=lo
echo export OMPI_MCA_oob_tcp_if_include=lo
PROLOG
chmod 755 "$folder/prolog"
{ cat /etc/hosts; for ((i = 1; i <= nodes; ++i)); do echo "127.0.0.1 t$i"; done; } >"$folder/hosts"
echo "export SLURM_CONF=$folder/slurm.conf" >"$folder/environment"
. "$folder/environment"

slurmctld -c || { down; cannot "slurmctld does not start, see $folder/log/controller"; }
for ((i = 1; i <= nodes; ++i)); do
    start_node "t$i" ||
        { down; cannot "node $i does not start (unshare and mount are needed)"; }
done
for _ in {1..200}; do
    [ "$(sinfo --noheader --partition=main --Node --format=%T 2>/dev/null | grep -c '^idle')" -eq "$nodes" ] && exit 0
    sleep 0.1
done
down
cannot "the nodes do not come up, see $folder/log"
