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
    PIXGEN_INTERNAL = 12,        /* a fault of the library */
    PIXGEN_MORE = 13,            /* no error: the picture is not complete, call pixgen_step again */
    PIXGEN_NO_KERNEL = 14,       /* this CPU has no kernel of that name */
    PIXGEN_SMALL_PANELS = 15,
    PIXGEN_SMALL_SCRATCH = 16,
    PIXGEN_TENSOR_LENGTH = 17    /* a tensor of an accelerator has another length than given */
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
    const char *class_names;     /* one a line, UTF-8, in the file; not zero-terminated; an empty line, or none at all, for a class without a name */
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

/* A picture that is drawn in slices: filled by pixgen_begin, moved on by pixgen_step. Its fields are the library's. */
struct pixgen_drawing {
    struct pixgen model;
    void *workspace;
    size_t workspace_length;
    uint64_t seed;
    uint64_t number;
    uint64_t to_seed;
    uint64_t to_number;
    uint32_t share;
    uint32_t class_number;
    uint32_t position[2];
};

/* Takes the bands of a picture, from the top; user is the pointer given to pixgen_draw or pixgen_step. */
typedef void (*pixgen_show)(const struct pixgen_band *band, void *user);

/* Reads from the first 24 bytes of a file how long it is: how much to map or to copy of a flash partition. `start` need not be aligned.
 * Errors: fewer than 24 bytes, or bytes that begin no model (PIXGEN_NOT_A_MODEL for erased flash). */
int pixgen_file_length(const void *start, size_t length, size_t *file_length);

/* Checks the file, which takes six instructions a byte, and fills model. Nothing is copied: the file, often in flash, must stay where
 * it is. It begins at a multiple of 16 bytes. Bytes behind the file are ignored: `length` may be that of a whole partition. */
int pixgen_open(struct pixgen *model, const void *file, size_t length);

/* Describes the model. */
int pixgen_get_info(const struct pixgen *model, struct pixgen_info *info);

/* Draws picture `number` of `seed`. The workspace begins at a multiple of 16 bytes; its content need not be kept between calls. */
int pixgen_draw(const struct pixgen *model, uint32_t class_number, uint64_t seed, uint64_t number, void *workspace,
                size_t workspace_length, pixgen_show show, void *user);

/* Prepares picture `number` of `seed` to be drawn in slices, so that the firmware can feed a watchdog, serve a radio or let other tasks run
 * while a picture takes seconds:
 *
 *     struct pixgen_drawing drawing;
 *     int status = pixgen_begin(&drawing, &model, 9, 7, 0, workspace, sizeof workspace);
 *     if (!status)
 *         while ((status = pixgen_step(&drawing, show, 0)) == PIXGEN_MORE) feed_the_watchdog();
 *
 * What is wrong with the request is found here. Model and workspace stay where they are, and nothing else writes to the workspace, until
 * the picture is complete or given up; there is nothing to clean up. */
int pixgen_begin(struct pixgen_drawing *drawing, const struct pixgen *model, uint32_t class_number, uint64_t seed, uint64_t number,
                 void *workspace, size_t workspace_length);

/* Between pixgen_begin and the first pixgen_step: starts from a noise on the way from the picture's own to that of picture `to_number` of
 * `to_seed`. `share` says how far, from 0 to 65536; more counts as 65536. Pictures of small steps are the frames of a film. A call after the
 * first pixgen_step is not refused, and what is drawn then is not specified. */
int pixgen_walk(struct pixgen_drawing *drawing, uint64_t to_seed, uint64_t to_number, uint32_t share);

/* Draws the next slice, and hands over the bands that it finishes, which are few or none. PIXGEN_MORE while the picture is not complete;
 * PIXGEN_OK when it is. The bytes are those of pixgen_draw. `pixgen-edge plan` says how many slices there are and how long they take. */
int pixgen_step(struct pixgen_drawing *drawing, pixgen_show show, void *user);

/* Draws the pictures whose hashes the exporter put into the file, and compares. */
int pixgen_self_test(const struct pixgen *model, void *workspace, size_t workspace_length);

/* For a graph of `pixgen-edge tflite`, which an accelerator's own runtime computes; no .pxg file is needed. Fills the tensors `noise`, as
 * many values as the picture has, and `class`, one for each class. The noise is that of pixgen_draw; the picture is much the same. */
int pixgen_accelerator_inputs(uint32_t class_number, uint64_t seed, uint64_t number, int8_t *noise, size_t noise_length,
                              int16_t *class_values, size_t classes);

/* Turns the tensor `pixels` into bytes where it lies, and gives it to `show` as one band of `width` rows. PIXGEN_TENSOR_LENGTH, and
 * nothing is changed, unless `length` is width * width * channels and channels are 1 or 3. */
int pixgen_accelerator_picture(uint32_t width, uint32_t channels, void *output, size_t length, pixgen_show show, void *user);

/* The text of a status: English, one line, never null. */
const char *pixgen_error_text(int error);

/* What follows is in libraries for a PC or a Linux board, not in those for bare microcontrollers. It draws the same bytes several times as
 * fast, with weights that are packed for the instructions of the CPU that the program runs on. Memory is the caller's here too:
 *
 *     size_t panels_length = 0, scratch_length = 0;
 *     struct pixgen_prepared prepared;
 *     int error = pixgen_prepared_lengths(&model, &panels_length, &scratch_length);
 *     void *panels = malloc(panels_length), *scratch = malloc(scratch_length);   (null is an error below)
 *     if (!error) error = pixgen_prepare(&prepared, &model, 0, panels, panels_length);
 *     if (!error) error = pixgen_draw_prepared(&prepared, 9, 7, 0, workspace, workspace_length, scratch, scratch_length, show, 0);
 *
 * Threads share a prepared model, each with a workspace and a scratch of its own. */

/* A model with packed weights, filled by pixgen_prepare. `kernel` may be printed; the rest is the library's. */
struct pixgen_prepared {
    struct pixgen model;
    const void *panels;
    size_t panels_length;
    const char *kernel;          /* name of the kernel, ASCII; not zero-terminated */
    size_t kernel_length;
};

/* How many bytes of panels and of scratch the model takes: panels about as many as the file. Each holds 64 bytes more than are used at once, so that
 * the memory may begin anywhere. Neither length is 0. */
int pixgen_prepared_lengths(const struct pixgen *model, size_t *panels, size_t *scratch);

/* Packs the weights into `panels`, which begin anywhere and stay as they are while `prepared` is in use. `kernel` is 0 for the fastest that this CPU
 * has, or a name: "portable", "avx2" (its faster form, or "avx2-pairs", "avx2-crosswise"), "vnni" ("avx512-vnni", "avx-vnni"), "neon", "dotprod".
 * A CPU that has none draws as pixgen_draw does and leaves the panels alone, which are not null all the same. Memory that is given to one call
 * never overlaps. */
int pixgen_prepare(struct pixgen_prepared *prepared, const struct pixgen *model, const char *kernel, void *panels, size_t panels_length);

/* Draws as pixgen_draw. The scratch begins anywhere; its content need not be kept between calls. */
int pixgen_draw_prepared(const struct pixgen_prepared *prepared, uint32_t class_number, uint64_t seed, uint64_t number, void *workspace,
                         size_t workspace_length, void *scratch, size_t scratch_length, pixgen_show show, void *user);

#ifdef __cplusplus
}
#endif

#endif
