#include "compute.h"

#include "cluster.h"
#include "warehouse.h"

/* The contexts of a check are not noted: nothing runs in them that matters later, and those that
 * are in the state are still to be destroyed by a start. */
static bool notes_contexts(const struct load *load)
{
    return load->ledger.dir && !load->start.check;
}

static void context_opened(void *arg, const char *cluster, const char *context)
{
    struct load *load = arg;

    if (!notes_contexts(load))
        return;
    ledger_note_context(&load->ledger, cluster, context);
    ledger_save(&load->ledger);
}

static void forget_contexts(struct load *load)
{
    if (!notes_contexts(load) || !load->ledger.ncontexts)
        return;
    ledger_forget_contexts(&load->ledger);
    ledger_save(&load->ledger);
}

void compute_new(struct load *load, const struct config *config)
{
    load->compute.http = load->http;
    if (config->cluster)
        load->compute.cluster = cluster_new(load->http, config->cluster, context_opened, load);
    else
        load->compute.warehouse = warehouse_new(load->http, config->warehouse);
}

void compute_free(struct load *load)
{
    warehouse_free(load->compute.warehouse);
    cluster_free(load->compute.cluster);
}

void compute_open(struct load *load)
{
    const struct ledger *l = &load->ledger;

    for (unsigned i = 0; i < l->ncontexts; i++)
        cluster_destroy(load->http, l->contexts[i].cluster, l->contexts[i].id);
    forget_contexts(load);
    if (load->compute.cluster)
        cluster_start(load->compute.cluster);
}

void compute_close(struct load *load)
{
    if (!load->compute.cluster)
        return;
    cluster_close(load->compute.cluster);
    forget_contexts(load);
}
