// A stand-in for TFLM's header, for tests of the text that edgebuild emits.
#ifndef STAND_IN_SYSTEM_SETUP_H_
#define STAND_IN_SYSTEM_SETUP_H_

namespace tflite {

inline void InitializeTarget() {}

}  // namespace tflite

#endif  // STAND_IN_SYSTEM_SETUP_H_
