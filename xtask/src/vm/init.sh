#!/bin/busybox sh
# The first process of a test guest, or what systemd starts as the only unit. xtask fills in what
# stands between at signs.

/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/opt/pidwatch HOME=/root
@EXPORTS@
# Only guests with a container runtime have it.
for image in /opt/image/*; do [ -e "$image" ] && export PIDWATCH_IMAGE="$image"; done

set_the_stage() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mkdir -p /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    for place in /dev/shm /tmp /run; do mount -t tmpfs tmpfs "$place"; done
    ip link set lo up
    # tracefs and bpffs stay unmounted: pidwatch has to cope with that.
}

# systemd, if it is the first process, has done that before it starts this.
[ -d /run/systemd/system ] || set_the_stage

layout=v2 shell=
for word in $(cat /proc/cmdline); do
    case "$word" in
        pidwatch.layout=*) layout="${word#*=}" ;;
        pidwatch.shell) shell=1 ;;
    esac
done

mount_v1() {
    mount -t tmpfs tmpfs /sys/fs/cgroup
    # Not every kernel has every controller for v1; pids is the one that matters.
    for controller in pids memory cpu,cpuacct cpuset freezer devices blkio; do
        mkdir "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" 2>/dev/null ||
            rmdir "/sys/fs/cgroup/$controller"
    done
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
}

case "$layout" in
    v2)
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        for controller in pids memory cpu; do
            echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
        done
        ;;
    v1) mount_v1 ;;
    hybrid)
        mount_v1
        mkdir /sys/fs/cgroup/unified
        mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
        ;;
esac

if [ -n "$shell" ]; then
    echo "A guest with $(uname -r), cgroups $layout. The scenarios: @SCENARIOS@"
    echo "Leave with exit, or at once with Ctrl-A x."
    setsid cttyhack sh
else
    @SCENARIOS@
    echo "@MARKER@$?"
fi
poweroff -f
