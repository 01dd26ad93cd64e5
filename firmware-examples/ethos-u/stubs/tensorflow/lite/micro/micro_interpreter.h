// A stub for tests: a network of 12x12 pixels in colour with three classes, which gives back its noise, less the number of the class.
#pragma once
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
extern bool dirty, dirty_at_start;
extern "C" void ethosu_inference_begin(struct ethosu_driver *, void *);
namespace tflite {
class MicroInterpreter {
    enum { kPixels = 12 * 12 * 3, kClasses = 3 };
    int8_t noise_[kPixels], pixels_[kPixels];
    int16_t class_[kClasses];
    TfLiteIntArray picture_ = {4, {1, 12, 12, 3}}, row_ = {3, {1, 1, kClasses, 0}};
    TfLiteTensor inputs_[2], output_;
    size_t arena_;

  public:
    MicroInterpreter(const Model *, const MicroMutableOpResolver<1> &, uint8_t *, size_t bytes) : arena_(bytes) {
        inputs_[0] = {{noise_}, &picture_, sizeof noise_};
        inputs_[1].data.i16 = class_;
        inputs_[1].dims = &row_;
        inputs_[1].bytes = sizeof class_;
        output_ = {{pixels_}, &picture_, sizeof pixels_};
    }
    TfLiteStatus AllocateTensors() { return arena_ < 1024 ? kTfLiteError : kTfLiteOk; }
    TfLiteTensor *input(int number) { return &inputs_[number]; }
    TfLiteTensor *output(int) { return &output_; }
    TfLiteStatus Invoke() {
        dirty = true; // the addresses of the tensors, in the arena
        ethosu_inference_begin(nullptr, nullptr);
        dirty_at_start = dirty;
        int asked = 0;
        while (class_[asked] != 32767) {
            asked++;
        }
        for (int i = 0; i < kPixels; i++) {
            pixels_[i] = static_cast<int8_t>(noise_[i] - asked);
        }
        return kTfLiteOk;
    }
};
} // namespace tflite
