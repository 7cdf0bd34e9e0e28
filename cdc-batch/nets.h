/*
 * The net changes of a part, found by key. Open addressing, with the hashes beside the pointers: a
 * look that finds nothing costs one cache line, and one that finds something two. The slots are
 * kept from part to part, as many as the part before needed.
 */
#ifndef CDC_BATCH_NETS_H
#define CDC_BATCH_NETS_H

#include <stddef.h>
#include <stdint.h>

#include "mem.h"
#include "net.h"

/* Zero-initialize it; nets_free frees it. */
struct nets {
    struct nets_slot *slots;
    size_t room, used; /* slots; room is a power of two, or 0 */
    uint32_t groups;   /* numbers given to them */
};

/* A new group: net changes of another one have other keys. */
uint32_t nets_group(struct nets *s);

/* The net change of this key. If there is none it is made, of kind NET_REMOVE, in the arena, which
 * gets the key's bytes, too; made says so. */
struct net *nets_get(struct nets *s, struct arena *arena, uint32_t group, struct mp key,
                     bool *made);

size_t nets_size(const struct nets *s); /* bytes of its own that the net changes take, about */
void nets_reset(struct nets *s);        /* forgets all; before the arena is reset, or after */
void nets_free(struct nets *s);

#endif
