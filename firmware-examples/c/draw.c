/* Draws a picture of every class: the first as characters, and the hash of each, as
 * `pixgen-edge sample --class CLASS --seed 1 --hashes` prints it.
 *
 *     pixgen-edge export model.safetensors --format c-header -o model.h
 *     cargo build --release -p pixgen-c
 *     cc -I. -Ipixgen-edge/c firmware-examples/c/draw.c target/release/libpixgen.a -lpthread -ldl -lm -o draw && ./draw
 *
 * cortex-m/ holds what a microcontroller needs besides.
 */
#include <stdio.h>

#define PIXGEN_MODEL_IMPLEMENTATION
#include "model.h"
#include "pixgen.h"

#define SEED 1

static _Alignas(16) unsigned char workspace[PIXGEN_MODEL_WORKSPACE];

struct picture {
    uint64_t hash; /* FNV-1a */
    int print;
};

static void show(const struct pixgen_band *band, void *user) {
    static const char shades[] = " .:-=+*#%@";
    struct picture *picture = user;
    uint32_t row_length = band->width * band->channels;

    for (uint32_t i = 0; i < band->rows * row_length; i++)
        picture->hash = (picture->hash ^ band->pixels[i]) * 0x100000001b3u;
    if (!picture->print)
        return;
    for (uint32_t y = 0; y < band->rows; y++) {
        for (uint32_t x = 0; x < band->width; x++) {
            const uint8_t *pixel = &band->pixels[y * row_length + x * band->channels];
            unsigned sum = 0;
            for (uint32_t c = 0; c < band->channels; c++)
                sum += pixel[c];
            char shade = shades[sum * (sizeof shades - 2) / (255 * band->channels)];
            putchar(shade);
            putchar(shade);
        }
        putchar('\n');
    }
}

static int fail(int error) {
    printf("error: %s\n", pixgen_error_text(error));
    return 1;
}

int main(void) {
    struct pixgen model;
    struct pixgen_info info;
    int error = pixgen_open(&model, pixgen_model, sizeof pixgen_model);

    if (!error)
        error = pixgen_get_info(&model, &info);
    if (error)
        return fail(error);
    printf("%.*s: %u classes, %u bytes of workspace\n", (int)info.name_length, info.name, (unsigned)info.classes, (unsigned)info.workspace);

    error = pixgen_self_test(&model, workspace, sizeof workspace);
    if (error)
        return fail(error);
    printf("self-test %u passed\n", (unsigned)info.tests);

    for (uint32_t class_number = 0; class_number < info.classes; class_number++) {
        struct picture picture = {0xcbf29ce484222325u, class_number == 0};
        error = pixgen_draw(&model, class_number, SEED, 0, workspace, sizeof workspace, show, &picture);
        if (error)
            return fail(error);
        /* In halves: small C libraries cannot print 64 bits. */
        printf("picture class %u seed %u number 0 hash %08lx%08lx\n", (unsigned)class_number, SEED,
               (unsigned long)(picture.hash >> 32), (unsigned long)(picture.hash & 0xffffffff));
    }
    return 0;
}
