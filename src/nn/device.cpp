#include "nn/device.h"

#include <dlfcn.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

// Loads CUDA's half of libtorch; returns "" or why it cannot be used.
std::string load_cuda() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&at::globalContext), &info) == 0 || info.dli_fname == nullptr) {
    return "the libtorch_cpu library cannot be located";
  }
  const std::filesystem::path library = std::filesystem::path(info.dli_fname).parent_path() / "libtorch_cuda.so";
  if (!std::filesystem::exists(library)) return library.string() + " is not there: this libtorch is for CPUs only";
  // The driver's own library tells cheaply whether there is any point in loading the big one.
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) == nullptr) return "no NVIDIA driver (libcuda.so.1) is installed";
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) return dlerror();
  if (torch::cuda::device_count() == 0) return "the driver shows no GPU";
  return "";
}

const std::string& why_no_cuda() {
  static const std::string reason = load_cuda();
  return reason;
}

}  // namespace

torch::Device resolve_device(std::string_view text) {
  if (text == "cpu") return torch::kCPU;
  if (text == "auto") return why_no_cuda().empty() ? torch::Device(torch::kCUDA, 0) : torch::Device(torch::kCPU);
  const bool numbered = starts_with(text, "cuda:") && text.size() > 5 && text.size() < 9 &&
                        text.find_first_not_of("0123456789", 5) == std::string_view::npos;
  if (text != "cuda" && !numbered) {
    throw ConfigError("[device] expected auto, cpu, cuda or cuda:N, got " + std::string(text));
  }
  if (!why_no_cuda().empty()) {
    throw ConfigError("[device] expected a usable CUDA GPU, got none: " + why_no_cuda() + " (try cpu)");
  }
  const int index = numbered ? std::stoi(std::string(text.substr(5))) : 0;
  const int count = static_cast<int>(torch::cuda::device_count());
  if (index >= count) {
    throw ConfigError("[device] expected a GPU below " + std::to_string(count) + ", got " + std::string(text));
  }
  return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(index));
}

std::string device_name(torch::Device device) {
  if (!device.is_cuda()) return "";
  // Asked of the driver, which resolve_device() has loaded: nothing of CUDA is linked.
  const auto get_name = reinterpret_cast<int (*)(char*, int, int)>(dlsym(RTLD_DEFAULT, "cuDeviceGetName"));
  const auto get_device = reinterpret_cast<int (*)(int*, int)>(dlsym(RTLD_DEFAULT, "cuDeviceGet"));
  const int index = device.has_index() ? device.index() : 0;
  int handle = 0;
  char name[256] = {};
  if (get_name == nullptr || get_device == nullptr || get_device(&handle, index) != 0) return "";
  return get_name(name, sizeof name, handle) == 0 ? name : "";
}

}  // namespace millrace
