// A stub for tests.
#pragma once
#include "tensorflow/lite/c/common.h"
namespace tflite {
template <unsigned count> class MicroMutableOpResolver {
    bool added_ = false;

  public:
    TfLiteStatus AddEthosU() {
        const TfLiteStatus status = added_ ? kTfLiteError : kTfLiteOk;
        added_ = true;
        return status;
    }
};
} // namespace tflite
