// The tensor arena was not measured: TensorFlow Lite Micro was not on the machine that built this.
#ifndef ${guard}_ARENA_BYTES
#error "Define ${guard}_ARENA_BYTES: the bytes of the tensor arena"
#endif
constexpr std::size_t kArenaBytes = ${guard}_ARENA_BYTES;
