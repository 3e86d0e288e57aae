// A stand-in for TFLM's header, for tests of the text that edgebuild emits: its inputs end in the files input0.bin and
// so on, its outputs are what output0.bin and so on hold.
#ifndef STAND_IN_MICRO_INTERPRETER_H_
#define STAND_IN_MICRO_INTERPRETER_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_op_resolver.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace tflite {

class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& op_resolver, std::uint8_t* tensor_arena,
                   std::size_t tensor_arena_size, MicroResourceVariables* = nullptr)
      : model_(model), resolver_(op_resolver), has_memory_(tensor_arena != nullptr && tensor_arena_size % 16 == 0) {}
  MicroInterpreter(const Model* model, const MicroOpResolver& op_resolver, MicroAllocator* allocator,
                   MicroResourceVariables* resource_variables = nullptr)
      : model_(model), resolver_(op_resolver), has_memory_(allocator != nullptr && resource_variables != nullptr) {}

  TfLiteStatus AllocateTensors() {
    const bool is_aligned = reinterpret_cast<std::uintptr_t>(model_) % 16 == 0;
    const bool is_model = std::memcmp(reinterpret_cast<const char*>(model_) + 4, "TFL3", 4) == 0;
    return is_aligned && is_model && has_memory_ && resolver_.IsFull() ? kTfLiteOk : kTfLiteError;
  }

  TfLiteStatus Reset() { return kTfLiteOk; }

  TfLiteStatus Invoke() {
    for (int index = 0; index < kMost; ++index) {
      std::FILE* asked = std::fopen(("input" + std::to_string(index) + ".bin").c_str(), "wb");
      std::fwrite(inputs_[index], 1, kMostBytes, asked);
      std::fclose(asked);
      std::FILE* answer = std::fopen(("output" + std::to_string(index) + ".bin").c_str(), "rb");
      if (answer == nullptr) continue;
      const std::size_t read = std::fread(outputs_[index], 1, kMostBytes, answer);
      std::fclose(answer);
      if (read == 0) return kTfLiteError;
    }
    return kTfLiteOk;
  }

  template <class T>
  T* typed_input_tensor(int tensor_index) {
    return reinterpret_cast<T*>(inputs_[tensor_index]);
  }
  template <class T>
  T* typed_output_tensor(int tensor_index) {
    return reinterpret_cast<T*>(outputs_[tensor_index]);
  }

 private:
  static constexpr int kMost = 4;
  static constexpr std::size_t kMostBytes = 1 << 16;

  const Model* model_;
  const MicroOpResolver& resolver_;
  bool has_memory_;
  alignas(16) unsigned char inputs_[kMost][kMostBytes] = {};
  alignas(16) unsigned char outputs_[kMost][kMostBytes] = {};
};

}  // namespace tflite

#endif  // STAND_IN_MICRO_INTERPRETER_H_
