// Draws on an Ethos-U with TensorFlow Lite Micro: pixgen makes the noise and turns the output into rows of bytes, and between its two calls
// lies the vendor's runtime. The board's start-up code, the driver of the accelerator and the display are yours.
//
// Never run on an accelerator. On a PC, with TensorFlow Lite Micro of 20 August 2026 and a driver that does nothing, it takes Vela's file of
// clothes-28, for which 44 KiB of arena are enough. The tests compile it against the stub headers beside it, and draw with a stub that gives back
// its noise.
//
//   model_vela.tflite as an array at a multiple of 16 bytes:   xxd -i model_vela.tflite > model.inc
//   libpixgen.a and pixgen.h:                                  firmware-examples/c/library.sh cortex-m55f
//
// A core with a data cache (Cortex-M55 and M85) does not see what an accelerator writes, nor the accelerator what the core writes. Define
// PIXGEN_CMSIS_HEADER as the chip's CMSIS header (-DPIXGEN_CMSIS_HEADER='"soc.h"'), or place the arena where nothing is cached: in TCM that the
// accelerator reaches, or in a region that the MPU makes non-cacheable. With the header this file defines the hook ethosu_inference_begin of Arm's
// driver; a program that has one already calls pixgen_ethos_u_begin in it, and defines PIXGEN_OWN_INFERENCE_BEGIN. ethosu_flush_dcache and
// ethosu_invalidate_dcache, the driver's hooks for the same, are not needed.
#include "draw.h"

#ifdef PIXGEN_CMSIS_HEADER
#include PIXGEN_CMSIS_HEADER
#endif

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

// SRAM that Vela and `pixgen-edge plan` give, and a few KiB of the runtime's own: enough for small-28-grey and nano-32-rgb; small-32-rgb and
// nano-64-rgb need 320 KiB. An accelerator reads it: place it where it can.
#ifndef PIXGEN_ARENA_BYTES
#define PIXGEN_ARENA_BYTES (64 * 1024)
#endif

namespace {
// Whole lines of the cache: what lies beside it is not touched.
constexpr size_t cache_line = 32;
alignas(cache_line) uint8_t arena[PIXGEN_ARENA_BYTES];
static_assert(sizeof arena % cache_line == 0, "PIXGEN_ARENA_BYTES is a multiple of 32");
tflite::MicroMutableOpResolver<1> resolver;
const void *prepared = nullptr; // the model of the first call
tflite::MicroInterpreter *interpreter = nullptr;

// Once: the runtime takes neither an operator nor the arena a second time, so that what fails at first fails ever after.
bool prepare(const void *model) {
    if (prepared != nullptr) {
        return interpreter != nullptr && model == prepared;
    }
    prepared = model;
    const tflite::Model *file = tflite::GetModel(model);
    if (file->version() != TFLITE_SCHEMA_VERSION || resolver.AddEthosU() != kTfLiteOk) {
        return false;
    }
    static tflite::MicroInterpreter made(file, resolver, arena, sizeof arena);
    if (made.AllocateTensors() != kTfLiteOk) {
        return false; // the arena is too small
    }
    interpreter = &made;
    return true;
}
} // namespace

#if defined(__DCACHE_PRESENT) && __DCACHE_PRESENT
// The runtime aligns what it places in the arena to 16 bytes, so that a line can hold part of the picture and variables of the runtime, which
// it writes until the accelerator starts. From here on the cache holds nothing that the core wrote, and could write over the accelerator's
// results or lose.
void pixgen_ethos_u_begin() { SCB_CleanInvalidateDCache_by_Addr(arena, sizeof arena); }
#ifndef PIXGEN_OWN_INFERENCE_BEGIN
extern "C" void ethosu_inference_begin(struct ethosu_driver *, void *) { pixgen_ethos_u_begin(); }
#endif
// What the core read ahead meanwhile is old.
static void drop(TfLiteTensor *pixels) { SCB_InvalidateDCache_by_Addr(pixels->data.int8, static_cast<int32_t>(pixels->bytes)); }
#else
void pixgen_ethos_u_begin() {}
static void drop(TfLiteTensor *) {}
#endif

int pixgen_ethos_u_draw(const void *model, uint32_t class_number, uint64_t seed, uint64_t number, pixgen_show show, void *user) {
    if (!prepare(model)) {
        return PIXGEN_ETHOS_U_RUNTIME;
    }
    TfLiteTensor *noise = interpreter->input(0), *class_values = interpreter->input(1);
    const int status = pixgen_accelerator_inputs(class_number, seed, number, noise->data.int8, noise->bytes, class_values->data.i16,
                                                 class_values->bytes / sizeof(int16_t));
    if (status != PIXGEN_OK) {
        return status;
    }
    pixgen_ethos_u_begin(); // for runtimes without Arm's driver; it costs microseconds
    if (interpreter->Invoke() != kTfLiteOk) {
        return PIXGEN_ETHOS_U_RUNTIME;
    }
    TfLiteTensor *pixels = interpreter->output(0); // [1, height, width, channels]
    drop(pixels);
    const int *shape = pixels->dims->data;
    return pixgen_accelerator_picture(shape[2], shape[3], pixels->data.int8, pixels->bytes, show, user);
}
