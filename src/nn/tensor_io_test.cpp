#include "nn/tensor_io.h"

#include <torch/types.h>

#include "base/error.h"
#include "formats/test_support.h"
#include "formats/weight_store.h"

namespace millrace {
namespace {

class TensorIo : public FolderTest {};

// Equal in type, shape and every bit.
bool same_bits(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::Tensor x = a.contiguous(), y = b.contiguous();
  return x.scalar_type() == y.scalar_type() && x.sizes() == y.sizes() &&
         (x.nbytes() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0);
}

TEST_F(TensorIo, EveryTypeGoesThroughAFileBitForBit) {
  TensorMap tensors;
  for (const DType dtype : kAllDTypes) {
    const torch::Tensor bits = torch::randint(0, dtype == DType::kBool ? 2 : 256, {3, 5, int64_t(size_of(dtype))},
                                              torch::TensorOptions().dtype(torch::kUInt8));
    tensors[std::string(dtype_name(dtype))] = bits.view(to_scalar_type(dtype)).squeeze(-1);
  }
  tensors["scalar"] = torch::tensor(1.5);
  tensors["empty"] = torch::empty({0, 3});
  save_tensors(path("a.safetensors"), tensors, {{"k", "v"}});
  const TensorMap loaded = load_tensors(path("a.safetensors"));
  ASSERT_EQ(loaded.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(same_bits(loaded.at(name), tensor)) << name;
}

TEST_F(TensorIo, StridedAndConjugatedTensorsAreWrittenAsTheyRead) {
  const torch::Tensor x = torch::arange(24, torch::kFloat32).view({2, 3, 4});
  const torch::Tensor imaginary = torch::imag(torch::complex(x, x).conj());  // a negated view
  save_tensors(path("a.safetensors"), {{"t", x.transpose(0, 2)}, {"s", x.slice(2, 1, 3)}, {"i", imaginary}});
  const TensorMap loaded = load_tensors(path("a.safetensors"));
  EXPECT_TRUE(torch::equal(loaded.at("t"), x.transpose(0, 2)));
  EXPECT_TRUE(torch::equal(loaded.at("s"), x.slice(2, 1, 3)));
  EXPECT_TRUE(torch::equal(loaded.at("i"), -x));
}

TEST_F(TensorIo, LoadedTensorsMayBeWritten) {
  save_tensors(path("a.safetensors"), {{"x", torch::ones({4})}});
  const TensorMap loaded = load_tensors(path("a.safetensors"));
  loaded.at("x").add_(1);
  EXPECT_TRUE(torch::equal(loaded.at("x"), torch::full({4}, 2.0)));
}

TEST_F(TensorIo, AViewIsNotCopiedAndKeepsItsFileMapped) {
  save_tensors(path("a.safetensors"), {{"x", torch::arange(1000)}});
  torch::Tensor x;
  const void* data = nullptr;
  {
    const WeightStore store(path("a.safetensors"));
    data = store.find("x")->bytes.data();
    x = to_tensor(*store.find("x"), store.keep_alive());
  }
  EXPECT_EQ(x.const_data_ptr(), data);
  EXPECT_TRUE(torch::equal(x, torch::arange(1000)));
}

TEST_F(TensorIo, UnalignedBytesAreCopied) {
  const std::string text =
      safetensors_text(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})" + std::string("   "), 8);
  ASSERT_NE((text.size() - 8) % 4, 0u);
  write("a.safetensors", text);
  const SafetensorsFile file(path("a.safetensors"));
  const torch::Tensor x = to_tensor(file.tensors()[0], file.keep_alive());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 4, 0u);
  EXPECT_TRUE(torch::equal(x, torch::zeros({2})));
}

TEST_F(TensorIo, BytesThatAreNoBoolsBecomeBools) {
  const std::vector<uint8_t> bytes = {0, 1, 2, 255};
  const torch::Tensor x = to_tensor({"x", DType::kBool, {4}, bytes_of(bytes)});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(static_cast<const uint8_t*>(x.const_data_ptr())[i], i == 0 ? 0 : 1);
}

TEST_F(TensorIo, TypesThatNoFileHoldsAreRefusedByName) {
  const std::string message = message_of<ModelError>([&] {
    save_tensors(path("a.safetensors"), {{"z", torch::zeros({1}, torch::kComplexFloat)}});
  });
  EXPECT_THAT(message, testing::HasSubstr("[z] expected a type that safetensors files hold, got ComplexFloat"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace millrace
