// A stand-in for TFLM's header, for tests of the text that edgebuild emits.
#ifndef STAND_IN_MICRO_RESOURCE_VARIABLE_H_
#define STAND_IN_MICRO_RESOURCE_VARIABLE_H_

#include "tensorflow/lite/micro/micro_allocator.h"

namespace tflite {

class MicroResourceVariables {
 public:
  static MicroResourceVariables* Create(MicroAllocator* allocator, int num_variables) {
    static MicroResourceVariables variables;
    return allocator != nullptr && num_variables > 0 ? &variables : nullptr;
  }
};

}  // namespace tflite

#endif  // STAND_IN_MICRO_RESOURCE_VARIABLE_H_
