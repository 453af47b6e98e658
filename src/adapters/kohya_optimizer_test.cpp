#include "adapters/kohya_optimizer.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(KohyaOptimizerText, HasWhatDiffersFromThePackagesDefaults) {
  EXPECT_EQ(kohya_optimizer_text({.name = "AdamW"}), "torch.optim.adamw.AdamW(betas=(0.9, 0.95),weight_decay=0.1)");
  EXPECT_EQ(kohya_optimizer_text({.name = "AdamW", .lr = 2, .beta2 = 0.999, .weight_decay = 0.01, .ema_decay = 0.9}),
            "torch.optim.adamw.AdamW");
  EXPECT_EQ(kohya_optimizer_text({.name = "AdamW8bit", .eps = 1e-6}), "bitsandbytes.optim.adamw.AdamW8bit(eps=1e-06)");
  EXPECT_EQ(kohya_optimizer_text({.name = "Lion"}), "lion_pytorch.lion_pytorch.Lion");
  EXPECT_EQ(
      kohya_optimizer_text({.name = "Prodigy", .beta2 = 0.99, .d_coef = 2, .slice_p = 11, .use_bias_correction = true}),
      "prodigyopt.prodigy.Prodigy(betas=(0.9, 0.99),d_coef=2.0,slice_p=11,use_bias_correction=True)");
  EXPECT_EQ(kohya_optimizer_text({.name = "SGD", .momentum = 0.9, .nesterov = true}),
            "torch.optim.sgd.SGD(momentum=0.9,nesterov=True)");
}

TEST(KohyaOptimizerText, HasThreeBetasInOneTuple) {
  EXPECT_EQ(kohya_optimizer_text({.name = "CAME"}), "pytorch_optimizer.optimizer.came.CAME");
  EXPECT_EQ(kohya_optimizer_text({.name = "CAME", .beta3 = 0.99, .eps1 = 1e-20}),
            "pytorch_optimizer.optimizer.came.CAME(betas=(0.9, 0.999, 0.99),eps1=1e-20)");
  EXPECT_EQ(kohya_optimizer_text({.name = "DAdaptAdan", .beta1 = 0.9, .no_prox = true}),
            "dadaptation.dadapt_adan.DAdaptAdan(betas=(0.9, 0.92, 0.99),no_prox=True)");
}

TEST(KohyaOptimizerText, AlwaysHasAdafactorsRelativeStep) {
  EXPECT_EQ(kohya_optimizer_text({.name = "Adafactor"}), "transformers.optimization.Adafactor(relative_step=True)");
  EXPECT_EQ(kohya_optimizer_text({.name = "Adafactor", .beta1 = 0.9, .eps2 = 0.01, .relative_step = false}),
            "transformers.optimization.Adafactor(beta1=0.9,eps=(1e-30, 0.01),relative_step=False)");
}

}  // namespace
}  // namespace millrace
