/* Draws a picture in slices, as a firmware does that has other work: a watchdog, a radio, an RTOS with other tasks.
 *
 *     firmware-examples/c/library.sh cortex-m4 pixgen
 *     arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=soft -O2 -nostartfiles --specs=nano.specs --specs=rdimon.specs \
 *         -Wl,--gc-sections,-z,noexecstack -I. -Ipixgen/src -T firmware-examples/c/cortex-m/stm32l476.ld firmware-examples/c/slices.c \
 *         firmware-examples/c/cortex-m/startup.c pixgen/src/cortex-m4/libpixgen.a -o slices.elf
 *
 * In a firmware of your own, take pixgen.h and the library, and what begins at `draw`. The linker script and the start-up code are only for
 * those who have none; printf goes to the debugger or the emulator; a board without a debugger stops there.
 */
#include <stdio.h>

#define PIXGEN_MODEL_IMPLEMENTATION /* in one source file of the program: it holds the model */
#include "model.h"
#include "pixgen.h"

#define SEED 1

static _Alignas(16) unsigned char workspace[PIXGEN_MODEL_WORKSPACE];

static unsigned slices;
static uint64_t hash; /* FNV-1a, as `pixgen-edge sample --class CLASS --seed 1 --hashes` prints it */

/* Whatever must not wait for a whole picture. */
static void between_slices(void) {
    slices++;
    /* IWDG->KR = 0xAAAA;     feed the watchdog
     * osThreadYield();       let other tasks run */
}

/* Takes some rows of the picture; for a display, send the bytes there. */
static void show(const struct pixgen_band *band, void *user) {
    (void)user;
    for (uint32_t i = 0; i < band->rows * band->width * band->channels; i++)
        hash = (hash ^ band->pixels[i]) * 0x100000001b3u;
}

static int draw(const struct pixgen *model, uint32_t class_number) {
    struct pixgen_drawing drawing;
    int status = pixgen_begin(&drawing, model, class_number, SEED, 0, workspace, sizeof workspace);

    slices = 1;
    hash = 0xcbf29ce484222325u;
    if (status)
        return status;
    while ((status = pixgen_step(&drawing, show, 0)) == PIXGEN_MORE)
        between_slices();
    return status;
}

int main(void) {
    /* The model may as well lie in a flash partition of its own: give its address and, for the length, that of the partition, or what
     * pixgen_file_length reads from its first bytes. */
    struct pixgen model;
    struct pixgen_info info;
    int status = pixgen_open(&model, pixgen_model, sizeof pixgen_model);

    if (!status)
        status = pixgen_get_info(&model, &info);
    if (!status)
        status = pixgen_self_test(&model, workspace, sizeof workspace);
    for (uint32_t class_number = 0; !status && class_number < info.classes; class_number++) {
        status = draw(&model, class_number);
        /* In halves: small C libraries cannot print 64 bits. */
        printf("picture class %u seed %u number 0 hash %08lx%08lx in %u slices\n", (unsigned)class_number, SEED, (unsigned long)(hash >> 32),
               (unsigned long)(hash & 0xffffffff), slices);
    }
    if (status)
        printf("error: %s\n", pixgen_error_text(status));
    return status;
}
