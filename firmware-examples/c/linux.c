/* Draws a picture of a .pxg file into a PNG file, on a PC or a Linux board such as a Raspberry Pi, with the fastest instructions of its CPU:
 *
 *     cargo build --release -p pixgen-c
 *     cc -Ipixgen-edge/c firmware-examples/c/linux.c target/release/libpixgen.a -lpthread -ldl -lm -o linux
 *     ./linux model.pxg 9 7 picture.png
 *
 * It prints the hash that `pixgen-edge sample --class CLASS --seed SEED --hashes` prints. PNG needs no library: its data may be stored
 * as they are. For a framebuffer, write the rows in `show` there instead.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pixgen.h"

/* --- PNG: bytes go to the file and into the checksum of their chunk. --- */

static uint32_t crc;

static void put(FILE *out, const void *data, size_t length) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    fwrite(data, 1, length, out);
}

static void put_u32(FILE *out, uint32_t value) {
    unsigned char bytes[4] = {value >> 24, value >> 16, value >> 8, value};
    put(out, bytes, 4);
}

static void begin_chunk(FILE *out, const char *name, uint32_t length) {
    put_u32(out, length);
    crc = 0xffffffffu;
    put(out, name, 4);
}

static void end_chunk(FILE *out) { put_u32(out, ~crc); }

/* An image whose rows begin with a zero: no filter. Rows are shorter than 64 KiB, so each is a block of its own. */
static int write_png(const char *path, const unsigned char *rows, uint32_t width, uint32_t channels) {
    FILE *out = fopen(path, "wb");
    uint32_t row = 1 + width * channels, a = 1, b = 0;
    if (!out)
        return 0;
    fwrite("\x89PNG\r\n\x1a\n", 1, 8, out);
    begin_chunk(out, "IHDR", 13);
    put_u32(out, width);
    put_u32(out, width);
    put(out, channels == 3 ? "\x08\x02\0\0\0" : "\x08\0\0\0\0", 5); /* 8 bits, colour or grey */
    end_chunk(out);
    begin_chunk(out, "IDAT", 2 + width * (5 + row) + 4);
    put(out, "\x78\x01", 2);
    for (uint32_t y = 0; y < width; y++) {
        unsigned char head[5] = {y + 1 == width, row & 255, row >> 8, ~row & 255, ~row >> 8 & 255}; /* stored */
        put(out, head, 5);
        put(out, rows + y * row, row);
        for (uint32_t i = 0; i < row; i++) {
            a = (a + rows[y * row + i]) % 65521;
            b = (b + a) % 65521;
        }
    }
    put_u32(out, b << 16 | a);
    end_chunk(out);
    begin_chunk(out, "IEND", 0);
    end_chunk(out);
    int bad = ferror(out);
    return fclose(out) == 0 && !bad;
}

/* --- The picture --- */

struct picture {
    unsigned char *rows;
    uint64_t hash; /* FNV-1a */
};

static void show(const struct pixgen_band *band, void *user) {
    struct picture *picture = user;
    size_t row = (size_t)band->width * band->channels;
    for (uint32_t y = 0; y < band->rows; y++)
        memcpy(picture->rows + (band->y + y) * (1 + row) + 1, band->pixels + y * row, row);
    for (size_t i = 0; i < band->rows * row; i++)
        picture->hash = (picture->hash ^ band->pixels[i]) * 0x100000001b3u;
}

/* Memory at a multiple of 16 bytes; the program ends when there is none. */
static void *memory(size_t length) {
    void *start = 0;
    if (posix_memalign(&start, 16, length + 1)) {
        fprintf(stderr, "out of memory: %zu bytes\n", length);
        exit(1);
    }
    return start;
}

static void *read_file(const char *path, size_t *length) {
    FILE *in = fopen(path, "rb");
    long end = -1;
    if (!in || fseek(in, 0, SEEK_END) || (end = ftell(in)) < 0 || fseek(in, 0, SEEK_SET)) {
        perror(path);
        exit(1);
    }
    if (end == LONG_MAX) { /* a folder */
        fprintf(stderr, "%s: %s\n", path, strerror(EISDIR));
        exit(1);
    }
    void *bytes = memory((size_t)end);
    *length = fread(bytes, 1, (size_t)end, in);
    fclose(in);
    return bytes;
}

/* A number up to `most`; the program ends when it is none. */
static uint64_t number(const char *text, const char *what, uint64_t most) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || *end || value > most) {
        fprintf(stderr, "%s: not a %s\n", text, what);
        exit(2);
    }
    return value;
}

/* Draws with everything that the model asks for. */
static int draw(const struct pixgen *model, const struct pixgen_info *info, uint32_t class_number, uint64_t seed, struct picture *picture) {
    struct pixgen_prepared prepared;
    size_t panels_length, scratch_length;
    const char *kernel = getenv("PIXGEN_KERNEL"); /* unset or empty: the fastest */
    if (kernel && !*kernel)
        kernel = 0;
    int error = pixgen_prepared_lengths(model, &panels_length, &scratch_length);
    if (error)
        return error;
    void *panels = memory(panels_length), *scratch = memory(scratch_length), *workspace = memory(info->workspace);
    error = pixgen_prepare(&prepared, model, kernel, panels, panels_length);
    if (!error) {
        fprintf(stderr, "kernel %.*s\n", (int)prepared.kernel_length, prepared.kernel);
        error = pixgen_draw_prepared(&prepared, class_number, seed, 0, workspace, info->workspace, scratch, scratch_length, show, picture);
    }
    if (error == PIXGEN_NO_KERNEL)
        fprintf(stderr, "PIXGEN_KERNEL=%s\n", kernel);
    free(panels);
    free(scratch);
    free(workspace);
    return error;
}

int main(int count, char **arguments) {
    struct pixgen model;
    struct pixgen_info info;
    size_t length;
    if (count != 5) {
        fprintf(stderr, "usage: linux MODEL.pxg CLASS SEED PICTURE.png\n");
        return 2;
    }
    uint32_t class_number = (uint32_t)number(arguments[2], "class", UINT32_MAX);
    uint64_t seed = number(arguments[3], "seed", UINT64_MAX);
    void *file = read_file(arguments[1], &length);
    int error = pixgen_open(&model, file, length);
    if (!error)
        error = pixgen_get_info(&model, &info);
    if (!error) {
        size_t size = (size_t)info.width * (1 + (size_t)info.width * info.channels);
        struct picture picture = {memory(size), 0xcbf29ce484222325u};
        memset(picture.rows, 0, size);
        error = draw(&model, &info, class_number, seed, &picture);
        if (!error && !write_png(arguments[4], picture.rows, info.width, info.channels)) {
            perror(arguments[4]);
            return 1;
        }
        if (!error)
            printf("class %" PRIu32 " seed %" PRIu64 " number 0 hash %016" PRIx64 "\n", class_number, seed, picture.hash);
        free(picture.rows);
    }
    if (error)
        fprintf(stderr, "%s: %s\n", arguments[1], pixgen_error_text(error));
    free(file);
    return error != 0;
}
