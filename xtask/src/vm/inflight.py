"""What is in flight, from the memory of a stopped kernel: run by drgn on a dump.

It shares nothing with fdtrace but the meaning of the words: it reads DWARF and not BTF, a dump and
not a running kernel, and finds the sockets in the slabs that they were allocated from as well as in
the tables. It prints one JSON object.
"""

import json

from drgn import cast, container_of
from drgn.helpers.linux.list import hlist_for_each_entry, list_for_each_entry
from drgn.helpers.linux.net import for_each_net
from drgn.helpers.linux.slab import (
    for_each_slab_cache,
    slab_cache_for_each_allocated_object,
)

AF_UNIX = 1
# UNIX_HASH_SIZE, a macro, which DWARF does not have.
CHAINS = 512


def sockets_of_slabs():
    """Every `struct sock` of a Unix socket that is allocated, by address."""
    caches = {
        prog[name].slab.value_()
        for name in ("unix_stream_proto", "unix_dgram_proto")
    }
    found = {}
    for cache in for_each_slab_cache(prog):
        if cache.value_() not in caches:
            continue
        for unix in slab_cache_for_each_allocated_object(cache, "struct unix_sock"):
            sk = unix.sk.address_of_()
            if sk.__sk_common.skc_family == AF_UNIX:
                found[sk.value_()] = sk
    return found


def sockets_of_tables():
    """Those in the tables of all network namespaces."""
    found = {}
    for net in for_each_net(prog):
        buckets = net.unx.table.buckets
        for chain in range(CHAINS):
            for sk in hlist_for_each_entry(
                "struct sock", buckets[chain].address_of_(), "__sk_common.skc_node"
            ):
                found[sk.value_()] = sk
    return found


def messages(sk):
    """The skbs of a receive queue, in order."""
    head = sk.sk_receive_queue.address_of_()
    skb = head.next
    while skb.value_() != head.value_():
        yield skb
        skb = skb.next


def rows(sk):
    """One for each file in a queue."""
    socket = sk.sk_socket
    ino = None
    if socket and socket.file:
        ino = socket.file.f_inode.i_ino.value_()
    for position, skb in enumerate(messages(sk)):
        parms = cast("struct unix_skb_parms *", skb.cb.address_of_())
        fpl = parms.fp
        if not fpl:
            continue
        for index in range(fpl.count.value_()):
            yield {
                "socket": ino,
                "position": position,
                "index": index,
                "count": fpl.count.value_(),
                "file": hex(fpl.fp[index].value_()),
            }


def counted_by_user():
    """What the kernel counts for all users, which it keeps in a hash table."""
    total = 0
    for chain in prog["uidhash_table"]:
        for user in hlist_for_each_entry(
            "struct user_struct", chain.address_of_(), "uidhash_node"
        ):
            total += user.unix_inflight.value_()
    return total


slabs, tables = sockets_of_slabs(), sockets_of_tables()
found = []
counted_by_socket = 0
for sk in {**slabs, **tables}.values():
    # A listener's queue has connections, whose sockets are in the tables themselves.
    if sk.__sk_common.skc_state == prog["TCP_LISTEN"].value_():
        continue
    here = list(rows(sk))
    unix = container_of(sk, "struct unix_sock", "sk")
    if here:
        counted_by_socket += unix.scm_stat.nr_fds.counter.value_()
    found += here
print(
    json.dumps(
        {
            "release": prog["init_uts_ns"].name.release.string_().decode(),
            "sockets": len(slabs),
            "not_in_tables": len(slabs.keys() - tables.keys()),
            "not_in_slabs": len(tables.keys() - slabs.keys()),
            "rows": found,
            "counted_by_socket": counted_by_socket,
            "counted_by_user": counted_by_user(),
        }
    )
)
