// Draws on an Ethos-U with TensorFlow Lite Micro: pixgen makes the noise and turns the output into rows of bytes, and between its two calls
// lies the vendor's runtime. The board's start-up code, the driver of the accelerator and the display are yours.
//
// Never run on an accelerator. It compiles against TensorFlow Lite Micro's own headers by their documentation; the tests compile it against
// the stub headers beside it, and draw with a stub that gives back its noise.
//
//   model_vela.tflite as an array at a multiple of 16 bytes:   xxd -i model_vela.tflite > model.inc
//   libpixgen.a and pixgen.h:                                  firmware-examples/c/library.sh cortex-m55f
#include "draw.h"

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

// SRAM that Vela and `pixgen-edge plan` give, and a few KiB of the runtime's own: enough for small-28-grey and nano-32-rgb; small-32-rgb and
// nano-64-rgb need 320 KiB. An accelerator reads it: place it where it can.
#ifndef PIXGEN_ARENA_BYTES
#define PIXGEN_ARENA_BYTES (64 * 1024)
#endif

namespace {
alignas(16) uint8_t arena[PIXGEN_ARENA_BYTES];
tflite::MicroMutableOpResolver<1> resolver;
tflite::MicroInterpreter *interpreter = nullptr;

bool prepare(const void *model) {
    if (interpreter != nullptr) {
        return true;
    }
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
    if (interpreter->Invoke() != kTfLiteOk) {
        return PIXGEN_ETHOS_U_RUNTIME;
    }
    TfLiteTensor *pixels = interpreter->output(0); // [1, height, width, channels]
    const int *shape = pixels->dims->data;
    return pixgen_accelerator_picture(shape[2], shape[3], pixels->data.int8, pixels->bytes, show, user);
}
