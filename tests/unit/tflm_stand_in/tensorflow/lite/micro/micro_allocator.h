// A stand-in for TFLM's header, for tests of the text that edgebuild emits.
#ifndef STAND_IN_MICRO_ALLOCATOR_H_
#define STAND_IN_MICRO_ALLOCATOR_H_

#include <cstddef>
#include <cstdint>

namespace tflite {

class MicroAllocator {
 public:
  static MicroAllocator* Create(std::uint8_t* tensor_arena, std::size_t arena_size) {
    static MicroAllocator allocator;
    return tensor_arena != nullptr && arena_size > 0 ? &allocator : nullptr;
  }
};

}  // namespace tflite

#endif  // STAND_IN_MICRO_ALLOCATOR_H_
