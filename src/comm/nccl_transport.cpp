#include "comm/nccl_transport.h"

#include <dlfcn.h>
#include <unistd.h>

#include <exception>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "comm/c10d_work.h"
#include "comm/nccl_module.h"

namespace millrace {
namespace {

class NcclTransport : public Transport {
 public:
  NcclTransport(c10::intrusive_ptr<c10d::Backend> backend, torch::Device device, AbortNcclBackends abort_backends,
                FailureHandler on_failure)
      : backend_(std::move(backend)),
        device_(device),
        abort_backends_(abort_backends),
        on_failure_(std::move(on_failure)) {}
  // Waits for no other rank: they may be gone.
  ~NcclTransport() override { abort_together({backend_}); }

  std::string kind() const override { return "nccl"; }

  std::shared_ptr<PendingWork> all_gather(torch::Tensor full, torch::Tensor shard) override {
    return start("all_gather", {full, shard}, [&] { return backend_->_allgather_base(full, shard); });
  }
  std::shared_ptr<PendingWork> reduce_scatter(torch::Tensor shard, torch::Tensor full) override {
    return start("reduce_scatter", {shard, full}, [&] { return backend_->_reduce_scatter_base(shard, full); });
  }
  std::shared_ptr<PendingWork> all_reduce(torch::Tensor inout, Reduce op) override {
    c10d::AllreduceOptions options;
    options.reduceOp = op == Reduce::kSum ? c10d::ReduceOp::SUM : c10d::ReduceOp::MAX;
    std::vector<at::Tensor> tensors = {inout};
    return start("all_reduce", tensors, [&] { return backend_->allreduce(tensors, options); });
  }
  std::shared_ptr<PendingWork> broadcast(torch::Tensor inout, int root) override {
    c10d::BroadcastOptions options;
    options.rootRank = root;
    std::vector<at::Tensor> tensors = {inout};
    return start("broadcast", tensors, [&] { return backend_->broadcast(tensors, options); });
  }
  std::shared_ptr<PendingWork> barrier() override {
    c10d::BarrierOptions options;
    options.device = device_;
    return start("barrier", {}, [&] { return backend_->barrier(options); });
  }
  void set_timeout(double seconds) override {
    backend_->setTimeout(std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)));
  }
  void abort() override { abort_together({backend_}); }
  void abort_all(const std::vector<std::shared_ptr<Transport>>& all) override {
    std::vector<c10::intrusive_ptr<c10d::Backend>> backends;
    for (const std::shared_ptr<Transport>& transport : all) {
      backends.push_back(static_cast<const NcclTransport&>(*transport).backend_);
    }
    abort_together(backends);
  }

 private:
  void abort_together(const std::vector<c10::intrusive_ptr<c10d::Backend>>& backends) const {
    try {
      abort_backends_(backends);
    } catch (const std::exception& error) {
      log_warning("could not stop NCCL: ", error.what());  // shutting down anyway
    }
  }

  template <typename Start>
  std::shared_ptr<PendingWork> start(const char* collective, std::vector<torch::Tensor> tensors, Start begin) {
    try {
      return std::make_shared<C10dWork>(begin(), std::move(tensors), collective, on_failure_);
    } catch (const std::exception& error) {
      on_failure_(collective, error.what());
      throw;
    }
  }

  c10::intrusive_ptr<c10d::Backend> backend_;
  torch::Device device_;
  AbortNcclBackends abort_backends_;
  FailureHandler on_failure_;
};

struct NcclModule {
  MakeNcclBackend make;
  AbortNcclBackends abort;
};

NcclModule load_module() {
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / kNcclModule;
  if (!std::filesystem::exists(path)) {
    throw ConfigError("[comm.backend] expected a build with NCCL, got none: " + path.string() +
                      " is not there (try building where a CUDA toolkit and NCCL's headers are)");
  }
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) throw ConfigError(std::string("[comm.backend] expected NCCL to load, got: ") + dlerror());
  const auto find = [&](const char* name) {
    void* function = dlsym(module, name);
    if (function == nullptr) throw ConfigError("[" + path.string() + "] expected " + name + ", got a file without it");
    return function;
  };
  return {reinterpret_cast<MakeNcclBackend>(find(kMakeNcclBackend)),
          reinterpret_cast<AbortNcclBackends>(find(kAbortNcclBackends))};
}

// c10d's watchdog throws on its own thread when a collective fails or is late, which would end the process by SIGABRT.
// A fault of this rank's own GPU still ends it that way, like any uncaught exception.
void leave_when_the_watchdog_throws() {
  static const std::terminate_handler previous = std::get_terminate();
  std::set_terminate([] {
    std::string what;
    try {
      if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
    } catch (const std::exception& error) {
      what = error.what();
    } catch (...) {
    }
    const std::string line = what.substr(0, what.find('\n'));  // below it are the names of functions
    const auto says = [&](const char* word) { return line.find(word) != std::string::npos; };
    if (!(says("NCCL") || says("Watchdog")) || says("CUDA error") || says("HIP error")) previous();
    // Past the log's locks: the main thread may hold them.
    const std::string message = "millrace: [nccl] expected all ranks to take part, got: " + line + "\n";
    [[maybe_unused]] const ssize_t count = ::write(STDERR_FILENO, message.data(), message.size());
    ::_exit(static_cast<int>(ExitCode::kPeerLost));
  });
}

}  // namespace

std::shared_ptr<Transport> make_nccl_transport(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                               torch::Device device, const std::string& name, double timeout,
                                               FailureHandler on_failure) {
  static const NcclModule module = [] {
    leave_when_the_watchdog_throws();
    return load_module();
  }();
  try {
    auto backend =
        module.make({.store = store, .rank = rank, .size = size, .device = device, .name = name, .timeout = timeout});
    return std::make_shared<NcclTransport>(std::move(backend), device, module.abort, on_failure);
  } catch (const std::exception& error) {
    on_failure("connecting", error.what());
    throw;
  }
}

}  // namespace millrace
