// The tensor arena. The network needs $needed bytes on a 64-bit host with reference kernels, and no more with 32-bit
// pointers. $margin was added for kernels that want more scratch memory: after AllocateTensors() arena_used_bytes()
// of the interpreter says what yours take.
constexpr std::size_t kArenaBytes = $reserved;
