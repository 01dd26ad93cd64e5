// Draws on an Ethos-U with TensorFlow Lite Micro: pixgen makes the noise and turns the output into rows of bytes, and between its two calls
// lies the vendor's runtime. The board's start-up code, the driver of the accelerator and the display are yours.
//
// Never run on an accelerator. It compiles against TensorFlow Lite Micro's own headers by their documentation; the tests compile it against
// the stub headers beside it, and draw with a stub that gives back its noise.
//
//   model_vela.tflite as an array at a multiple of 16 bytes:   xxd -i model_vela.tflite > model.inc
//   libpixgen.a and pixgen.h:                                  firmware-examples/c/library.sh cortex-m55f
//
// A core with a data cache (Cortex-M55 and M85) does not see what an accelerator writes, nor that the other's. Define PIXGEN_CMSIS_HEADER as
// the chip's CMSIS header (-DPIXGEN_CMSIS_HEADER='"soc.h"'), or place the arena where nothing is cached: in TCM that the accelerator reaches,
// or in a region that the MPU makes non-cacheable. Arm's driver has hooks for the same, ethosu_flush_dcache and ethosu_invalidate_dcache, which
// do nothing until they are defined; with both, the cache is cleaned twice.
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
alignas(32) uint8_t arena[PIXGEN_ARENA_BYTES];
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

#if defined(__DCACHE_PRESENT) && __DCACHE_PRESENT
// The inputs to memory, and nothing of the arena in the cache that could be written over the accelerator's results.
void before() { SCB_CleanInvalidateDCache_by_Addr(arena, sizeof arena); }
// What the core read ahead meanwhile is old. The runtime's own variables lie in the arena too, so that only the output is dropped.
void after(TfLiteTensor *pixels) { SCB_InvalidateDCache_by_Addr(pixels->data.int8, static_cast<int32_t>(pixels->bytes)); }
#else
void before() {}
void after(TfLiteTensor *) {}
#endif
} // namespace

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
    before();
    if (interpreter->Invoke() != kTfLiteOk) {
        return PIXGEN_ETHOS_U_RUNTIME;
    }
    TfLiteTensor *pixels = interpreter->output(0); // [1, height, width, channels]
    after(pixels);
    const int *shape = pixels->dims->data;
    return pixgen_accelerator_picture(shape[2], shape[3], pixels->data.int8, pixels->bytes, show, user);
}
