// The part of LiteRT's C API that programs call, standing in for it: inputs are written to files, outputs read from them.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <string>

struct TfLiteModel {};
struct TfLiteInterpreterOptions {};
struct TfLiteTensor { std::string file; };
struct TfLiteInterpreter { TfLiteTensor tensors[8]; };
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

inline TfLiteModel* TfLiteModelCreateFromFile(const char*) { return new TfLiteModel; }
inline void TfLiteModelDelete(TfLiteModel* model) { delete model; }
inline TfLiteInterpreterOptions* TfLiteInterpreterOptionsCreate() { return new TfLiteInterpreterOptions; }
inline void TfLiteInterpreterOptionsSetNumThreads(TfLiteInterpreterOptions*, int) {}
inline void TfLiteInterpreterOptionsDelete(TfLiteInterpreterOptions* options) { delete options; }
inline TfLiteInterpreter* TfLiteInterpreterCreate(const TfLiteModel*, const TfLiteInterpreterOptions*) {
  return new TfLiteInterpreter;
}
inline void TfLiteInterpreterDelete(TfLiteInterpreter* interpreter) { delete interpreter; }
inline TfLiteStatus TfLiteInterpreterAllocateTensors(TfLiteInterpreter*) { return kTfLiteOk; }
inline TfLiteStatus TfLiteInterpreterInvoke(TfLiteInterpreter*) { return kTfLiteOk; }
inline TfLiteStatus TfLiteInterpreterResetVariableTensors(TfLiteInterpreter*) {
  std::puts("reset");
  return kTfLiteOk;
}
inline TfLiteTensor* TfLiteInterpreterGetInputTensor(const TfLiteInterpreter*, int index) {
  return new TfLiteTensor{"in" + std::to_string(index)};
}
inline const TfLiteTensor* TfLiteInterpreterGetOutputTensor(const TfLiteInterpreter*, int index) {
  return new TfLiteTensor{"out" + std::to_string(index)};
}
inline TfLiteStatus TfLiteTensorCopyFromBuffer(TfLiteTensor* tensor, const void* data, size_t size) {
  std::FILE* file = std::fopen(tensor->file.c_str(), "wb");
  const bool ok = file != nullptr && std::fwrite(data, 1, size, file) == size && std::fclose(file) == 0;
  return ok ? kTfLiteOk : kTfLiteError;
}
inline TfLiteStatus TfLiteTensorCopyToBuffer(const TfLiteTensor* tensor, void* data, size_t size) {
  std::FILE* file = std::fopen(tensor->file.c_str(), "rb");
  return file != nullptr && std::fread(data, 1, size, file) == size ? kTfLiteOk : kTfLiteError;
}
