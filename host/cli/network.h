/* network.h - which tensors of the files are the layers of a network, and which are gradients and weights of those. */
#ifndef ACTSCOPE_CLI_NETWORK_H
#define ACTSCOPE_CLI_NETWORK_H

#include "report/report.h"

/* What a layer is to the network. */
struct network_link {
  size_t activation; /* that it belongs to; its own index for an activation */
  size_t gradient, weight; /* of an activation; ACTSCOPE_NO_LAYER: none */
  size_t chain;      /* of an activation: which network; layers of different ones are not compared */
};

/* Sets layer->role and links[0 .. count-1]. A tensor NAME.gradient, NAME.grad or NAME.weight belongs to the layer NAME
 * where there is one: of the same file, else the first without one; a gradient has its shape. Anything else is an
 * activation. A file of several activations is a network of its own; files of one follow each other. */
void network_link(report_layer *layers, size_t count, struct network_link *links);

/* Completes the compat scores with the gradients, and analyses each network into scores (count entries; *scored is how
 * many there are), which index the layers. reports: those of the layers. 0, or -1 without memory. */
int network_analyse(report_layer *layers, size_t count, const struct network_link *links, int compat,
                    const actscope_layer_report *reports, actscope_network_scores *scores, size_t *scored);

#endif
