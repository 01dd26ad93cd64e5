/* Pixgen: pictures from .pxg model files, in one pass of a small int8 network.
 *
 * No globals, no allocation, no floating point. The same file, class and seed give the same bytes on every machine.
 *
 *     static _Alignas(16) unsigned char workspace[PIXGEN_MODEL_WORKSPACE];
 *     struct pixgen model;
 *     int error = pixgen_open(&model, pixgen_model, sizeof pixgen_model);
 *     if (!error) error = pixgen_draw(&model, 9, 7, 0, workspace, sizeof workspace, show, 0);
 *     if (error) puts(pixgen_error_text(error));
 *
 * pixgen_model and PIXGEN_MODEL_WORKSPACE come from the header that `pixgen-edge export --format c-header` writes.
 *
 * Functions may be called from several threads, each with a workspace of its own.
 */
#ifndef PIXGEN_H
#define PIXGEN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Return values. */
enum pixgen_status {
    PIXGEN_OK = 0,
    PIXGEN_NULL_POINTER = 1,
    PIXGEN_MISALIGNED = 2,       /* files and workspaces begin at multiples of 16 bytes */
    PIXGEN_NOT_A_MODEL = 3,      /* not a .pxg file */
    PIXGEN_VERSION = 4,          /* a file of another version of the format */
    PIXGEN_LENGTH = 5,           /* the file has another length than given */
    PIXGEN_CHECKSUM = 6,         /* the file is damaged */
    PIXGEN_CONTENT = 7,          /* the file describes no model that can be drawn here */
    PIXGEN_NO_SUCH_CLASS = 8,
    PIXGEN_SMALL_WORKSPACE = 9,
    PIXGEN_NO_SELF_TEST = 10,    /* the file has no self-test vectors */
    PIXGEN_SELF_TEST = 11,       /* a self-test picture is not the one drawn at export */
    PIXGEN_INTERNAL = 12         /* a fault of the library */
};

/* A file in memory; filled by pixgen_open. */
struct pixgen {
    const void *file;
    size_t length;
};

struct pixgen_info {
    size_t workspace;            /* bytes of workspace for a picture */
    uint32_t width;              /* pixels in a row, and rows */
    uint32_t channels;           /* bytes of a pixel: 1, grey, or 3, red, green, blue */
    uint32_t classes;
    uint32_t steps;              /* network evaluations of a picture */
    uint32_t tests;              /* self-test vectors in the file */
    uint32_t band_rows;          /* rows of a band */
    const char *name;            /* UTF-8, in the file; not zero-terminated */
    size_t name_length;
    const char *class_names;     /* one a line, UTF-8, in the file; not zero-terminated */
    size_t class_names_length;
};

/* Some rows of a picture. The pixels are there only during the call. */
struct pixgen_band {
    const uint8_t *pixels;       /* rows * width * channels bytes, row by row */
    uint32_t y;                  /* number of the first row, from the top */
    uint32_t rows;
    uint32_t width;              /* pixels in a row */
    uint32_t channels;           /* bytes of a pixel: 1 or 3 */
};

/* Takes the bands of a picture, from the top; user is the pointer given to pixgen_draw. */
typedef void (*pixgen_show)(const struct pixgen_band *band, void *user);

/* Checks the file, which takes six instructions a byte, and fills model. Nothing is copied: the file, often in flash, must stay where
 * it is. It begins at a multiple of 16 bytes. */
int pixgen_open(struct pixgen *model, const void *file, size_t length);

/* Describes the model. */
int pixgen_get_info(const struct pixgen *model, struct pixgen_info *info);

/* Draws picture `number` of `seed`. The workspace begins at a multiple of 16 bytes; its content need not be kept between calls. */
int pixgen_draw(const struct pixgen *model, uint32_t class_number, uint64_t seed, uint64_t number, void *workspace,
                size_t workspace_length, pixgen_show show, void *user);

/* Draws the pictures whose hashes the exporter put into the file, and compares. */
int pixgen_self_test(const struct pixgen *model, void *workspace, size_t workspace_length);

/* The text of a status: English, one line, never null. */
const char *pixgen_error_text(int error);

#ifdef __cplusplus
}
#endif

#endif
