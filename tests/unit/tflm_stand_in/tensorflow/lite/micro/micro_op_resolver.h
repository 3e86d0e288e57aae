// A stand-in for TFLM's header, for tests of the text that edgebuild emits: its names and signatures, no kernels.
#ifndef STAND_IN_MICRO_OP_RESOLVER_H_
#define STAND_IN_MICRO_OP_RESOLVER_H_

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

namespace tflite {

class MicroOpResolver {
 public:
  virtual ~MicroOpResolver() {}
  // Not in TFLM: whether as many operators were added as there is room for.
  virtual bool IsFull() const = 0;
};

}  // namespace tflite

#endif  // STAND_IN_MICRO_OP_RESOLVER_H_
