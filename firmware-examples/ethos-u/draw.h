/* What draw.cc offers. */
#ifndef PIXGEN_ETHOS_U_DRAW_H
#define PIXGEN_ETHOS_U_DRAW_H

#include "pixgen.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The runtime could not be prepared or did not run: its arena is too small, the file is not one of Vela's, or the model is not that of the
 * first call. No status of pixgen.h. What could not be prepared once is not tried again. */
#define PIXGEN_ETHOS_U_RUNTIME (-1)

/* Draws picture `number` of `seed` and hands over its rows. `model` is the content of model_vela.tflite, at a multiple of 16 bytes; it is
 * read at the first call, and must be the same in all. */
int pixgen_ethos_u_draw(const void *model, uint32_t class_number, uint64_t seed, uint64_t number, pixgen_show show, void *user);

/* Writes back what the core has cached of the arena, and drops it; nothing on a core without a cache. For a hook ethosu_inference_begin of your
 * own; draw.cc defines one otherwise. */
void pixgen_ethos_u_begin(void);

#ifdef __cplusplus
}
#endif
#endif
