#include "diffusion/picture_codec.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/files.h"
#include "kernels/philox_fill/philox_fill.h"
#include "models/autoencoder/model.h"
#include "models/model_table.h"

namespace millrace {
namespace {

[[noreturn]] void throw_no_posterior() {
  throw ConfigError("[encoder.autoencoder_path] expected an autoencoder, got \"none\": pixels have no posterior");
}

class PixelCodec : public PictureCodec {
 public:
  int64_t channels() const override { return 3; }
  int64_t downscale() const override { return 1; }
  torch::Tensor encode(const torch::Tensor& image_BCHW, const std::vector<RandomStream>&) override {
    return image_BCHW;
  }
  PictureMoments moments(const torch::Tensor&) override { throw_no_posterior(); }
  torch::Tensor draw(const PictureMoments&, const std::vector<RandomStream>&) override { throw_no_posterior(); }
  PictureMoments moments_of(const torch::Tensor&) override { throw_no_posterior(); }
  torch::Tensor decode(const torch::Tensor& latent_BZhw) override { return latent_BZhw; }
};

void fill_randomly(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (const auto& item : module.named_parameters()) {
    torch::Tensor parameter = item.value();
    if (parameter.dim() == 1) {
      parameter.fill_(item.key().find("norm") != std::string::npos && item.key().find("weight") != std::string::npos);
      continue;
    }
    torch::Tensor values = torch::empty({1, parameter.numel()}, parameter.options().dtype(torch::kFloat32));
    const std::string& name = item.key();
    philox_fill_normal(values, {random_stream(0, RandomPurpose::kInit, 0, checksum64(name.data(), name.size()))});
    const double fan_in = static_cast<double>(parameter.numel() / parameter.size(0));
    parameter.copy_(values.view(parameter.sizes()).mul_(1.0 / std::sqrt(fan_in)));
  }
}

class AutoencoderCodec : public PictureCodec {
 public:
  explicit AutoencoderCodec(const AutoencoderCodecOptions& options) : dtype_(options.dtype), device_(options.device) {
    if (options.path.empty()) {
      model_ = std::make_shared<autoencoder::Autoencoder>(
          autoencoder::AutoencoderConfig{}, torch::TensorOptions().dtype(options.dtype).device(options.device));
      fill_randomly(*model_);
    } else {
      model_ = std::dynamic_pointer_cast<autoencoder::Autoencoder>(
          ModelWeights(find_model("autoencoder"), options.path).load(options.dtype, options.device));
      MILLRACE_CHECK(model_ != nullptr);
    }
    model_->eval();
    shift_ = options.shift.value_or(model_->config().shift_factor);
    scale_ = options.scale.value_or(model_->config().scaling_factor);
  }

  int64_t channels() const override { return model_->config().latent_channels; }
  int64_t downscale() const override { return model_->config().downscale(); }

  torch::Tensor encode(const torch::Tensor& image_BCHW, const std::vector<RandomStream>& streams) override {
    const torch::NoGradGuard no_grad;
    return draw(moments(image_BCHW), streams);
  }
  torch::Tensor draw(const PictureMoments& moments, const std::vector<RandomStream>& streams) override {
    return sample_posterior(moments.mean_BZhw, moments.logvar_BZhw, streams, shift_, scale_);
  }

  PictureMoments moments(const torch::Tensor& image_BCHW) override {
    const torch::NoGradGuard no_grad;
    const autoencoder::Moments both = model_->encode(image_BCHW.to(device_, dtype_));
    return {both.mean_BZhw, both.logvar_BZhw};
  }

  PictureMoments moments_of(const torch::Tensor& latent_BZhw) override {
    const torch::Tensor mean = latent_BZhw.to(torch::kFloat32) / scale_ + shift_;
    return {mean, at::full_like(mean, -std::numeric_limits<double>::infinity())};
  }

  torch::Tensor decode(const torch::Tensor& latent_BZhw) override {
    const torch::NoGradGuard no_grad;
    return model_->decode((latent_BZhw.to(device_, torch::kFloat32) / scale_ + shift_).to(dtype_)).to(torch::kFloat32);
  }

 private:
  torch::Dtype dtype_;
  torch::Device device_;
  std::shared_ptr<autoencoder::Autoencoder> model_;
  double shift_ = 0, scale_ = 1;
};

}  // namespace

std::unique_ptr<PictureCodec> pixel_codec() {
  return std::make_unique<PixelCodec>();
}

std::unique_ptr<PictureCodec> autoencoder_codec(const AutoencoderCodecOptions& options) {
  return std::make_unique<AutoencoderCodec>(options);
}

torch::Tensor sample_posterior(const torch::Tensor& mean_BZhw, const torch::Tensor& logvar_BZhw,
                               const std::vector<RandomStream>& streams, double shift, double scale) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor mean = mean_BZhw.to(torch::kFloat32), logvar = logvar_BZhw.to(torch::kFloat32);
  torch::Tensor noise = torch::empty(mean.sizes(), mean.options());
  philox_fill_normal(noise, streams);
  return (mean + at::exp(0.5 * logvar) * noise - shift) * scale;
}

}  // namespace millrace
