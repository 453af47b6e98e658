// At which times the transformer is trained, and the loss.
#include "base/text.h"
#include "compat/kohya_parts.h"

namespace millrace {
namespace {

// A number that counts only for some values of another option. read: it counts.
void set_number(const KohyaTranslator& kohya, const char* theirs, const char* ours, bool read,
                const std::string& when) {
  const TheirSetting from = kohya.from(theirs);
  const auto value = kohya.args.number(theirs);
  if (read && value) {
    kohya.out.set(ours, *value, from);
  } else if (kohya.args.has(theirs)) {
    kohya.out.note(from, Fate::kNoEffect, "there as here, it counts only with " + when);
  }
}

}  // namespace

void KohyaTranslator::objective() {
  const std::string sampling = *args.text("timestep_sampling");
  out.set("objective.timestep_sampling", sampling, from("timestep_sampling"));
  const bool is_sigmoid = sampling == "sigmoid" || sampling == "shift" || sampling == "flux_shift";
  set_number(*this, "sigmoid_scale", "objective.sigmoid_scale", is_sigmoid,
             "--timestep_sampling sigmoid, shift or flux_shift");
  set_number(*this, "discrete_flow_shift", "objective.discrete_flow_shift", sampling == "shift" || sampling == "sigma",
             "--timestep_sampling shift or sigma");

  const std::string prediction = *args.text("model_prediction_type");
  out.set("objective.model_prediction_type", prediction, from("model_prediction_type"));
  if (prediction != "raw" && !args.has("model_prediction_type")) {
    out.note(from("model_prediction_type"), Fate::kBecame,
             "which is not the velocity that FLUX predicts: --model_prediction_type raw is what its users recommend");
  }
  const std::string scheme = *args.text("weighting_scheme");
  const bool draws = scheme == "logit_normal" || scheme == "mode";
  const bool weighs = scheme == "sigma_sqrt" || scheme == "cosmap";
  const bool counts = (draws && sampling == "sigma") || (weighs && prediction == "sigma_scaled");
  if (counts || scheme == "none" || scheme == "uniform") {
    out.set("objective.weighting_scheme", counts ? scheme : "none", from("weighting_scheme"));
  } else if (draws || weighs) {
    out.note(from("weighting_scheme"), Fate::kNoEffect,
             std::string("there as here, it counts only with ") +
                 (draws ? "--timestep_sampling sigma" : "--model_prediction_type sigma_scaled"));
  } else {
    out.refuse(from("weighting_scheme"),
               "expected one of sigma_sqrt, logit_normal, mode, cosmap, none, uniform, got " + json_escape(scheme));
  }
  set_number(*this, "logit_mean", "objective.logit_mean", counts && scheme == "logit_normal",
             "--weighting_scheme logit_normal");
  set_number(*this, "logit_std", "objective.logit_std", counts && scheme == "logit_normal",
             "--weighting_scheme logit_normal");
  set_number(*this, "mode_scale", "objective.mode_scale", counts && scheme == "mode", "--weighting_scheme mode");

  if (around.model.has_guidance) {
    set_number(*this, "guidance_scale", "objective.guidance_scale", true, "");
  } else if (args.has("guidance_scale")) {
    out.note(from("guidance_scale"), Fate::kNoEffect, "there as here, FLUX.1-schnell has no guidance");
  }

  const std::string loss = *args.text("loss_type");
  const std::string schedule = *args.text("huber_schedule");
  const bool turns = loss == "huber" || loss == "smooth_l1";
  out.set("objective.loss_type", loss, from("loss_type"));
  if (turns && schedule == "snr") {
    out.refuse(from("huber_schedule"),
               "expected --huber_schedule constant or exponential, got snr, which there is not for FLUX");
  } else if (turns) {
    out.set("objective.huber_schedule", schedule, from("huber_schedule"));
  } else if (args.has("huber_schedule")) {
    out.note(from("huber_schedule"), Fate::kNoEffect,
             "there as here, it counts only with --loss_type huber or smooth_l1");
  }
  set_number(*this, "huber_c", "objective.huber_c", turns, "--loss_type huber or smooth_l1");
  set_number(*this, "huber_scale", "objective.huber_scale", turns, "--loss_type huber or smooth_l1");
  const bool has_gamma = args.number("ip_noise_gamma").value_or(0) > 0;
  set_number(*this, "ip_noise_gamma", "objective.ip_noise_gamma", has_gamma, "a value above 0");
  if (args.has("ip_noise_gamma_random_strength")) {
    if (has_gamma) {
      out.set("objective.ip_noise_gamma_random_strength", true, from("ip_noise_gamma_random_strength"));
    } else {
      out.note(from("ip_noise_gamma_random_strength"), Fate::kNoEffect,
               "there as here, it counts only with --ip_noise_gamma");
    }
  }
}

}  // namespace millrace
