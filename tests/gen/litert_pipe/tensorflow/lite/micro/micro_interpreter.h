// In place of TensorFlow Lite Micro, for firmware-examples/ethos-u/draw.cc: the network is whoever reads standard output, gets both inputs
// there, and writes the output to standard input. SIDE, CHANNELS and CLASSES are those of the network.
#pragma once
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include <cstdio>
namespace tflite {
class MicroInterpreter {
    int8_t noise_[SIDE * SIDE * CHANNELS], pixels_[SIDE * SIDE * CHANNELS];
    int16_t class_[CLASSES];
    TfLiteIntArray picture_ = {4, {1, SIDE, SIDE, CHANNELS}}, row_ = {3, {1, 1, CLASSES, 0}};
    TfLiteTensor inputs_[2], output_;

  public:
    MicroInterpreter(const Model *, const MicroMutableOpResolver<1> &, uint8_t *, size_t) {
        inputs_[0] = {{noise_}, &picture_, sizeof noise_};
        inputs_[1].data.i16 = class_;
        inputs_[1].dims = &row_;
        inputs_[1].bytes = sizeof class_;
        output_ = {{pixels_}, &picture_, sizeof pixels_};
    }
    TfLiteStatus AllocateTensors() { return kTfLiteOk; }
    TfLiteTensor *input(int number) { return &inputs_[number]; }
    TfLiteTensor *output(int) { return &output_; }
    TfLiteStatus Invoke() {
        fwrite(noise_, 1, sizeof noise_, stdout);
        fwrite(class_, 1, sizeof class_, stdout);
        fflush(stdout);
        return fread(pixels_, 1, sizeof pixels_, stdin) == sizeof pixels_ ? kTfLiteOk : kTfLiteError;
    }
};
} // namespace tflite
