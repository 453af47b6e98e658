// The captioned pictures for training and validating FLUX: options of [training] and [validation].
#pragma once

#include <cstdint>
#include <string>

#include "config/option.h"
#include "data/dataset_kind.h"

namespace millrace {

struct TrainingPicturesConfig {
  std::string dataset = "webdataset";
  std::string dataset_path;
  int64_t img_size = 256;
  double classifier_free_guidance_prob = 0.0;
  bool masked_loss = false;
  double prior_loss_weight = 1;
  std::string resize_interpolation = "bicubic";

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(dataset, {.name = "dataset",
                    .meaning = "kind of the data: webdataset (shards of pictures with captions), pictures (in folders, "
                               "docs/picture_sets.md), preprocessed (encoded samples), or torchtitan's name of a data "
                               "set; dummy: 128 pictures of noise",
                    .choices = training_dataset_names(),
                    .torchtitan_default = "c4_test"});
    visit(dataset_path,
          {.name = "dataset_path",
           .meaning = "tar shards or a Hugging Face data set saved to disk: a file, a folder, a glob, or a "
                      "brace range such as shard-{000..099}.tar; of pictures: a data set file (.toml, .json), or a "
                      "folder of folders named 10_words; empty: /dataset/NAME for cc12m_* and coco*",
           .none_is_empty = true});
    visit(img_size,
          {.name = "img_size",
           .unit = "pixels",
           .meaning = "side of the training pictures: smaller ones are skipped, larger ones scaled and cropped; a data "
                      "set file has sizes of its own",
           .at_least = 1,
           .at_most = 65536});
    visit(classifier_free_guidance_prob,
          {.name = "classifier_free_guidance_prob",
           .meaning = "probability that a sample trains with the empty prompt (both encoders at once)",
           .at_least = 0,
           .at_most = 1,
           .aliases = {"training.classifer_free_guidance_prob", "training.prompt_dropout_prob"}});
    visit(masked_loss, {.name = "masked_loss",
                        .meaning = "the loss of a data set of pictures counts where masks are white: those in "
                                   "conditioning_data_dir, which every subset must have then"});
    visit(prior_loss_weight, {.name = "prior_loss_weight",
                              .meaning = "factor of the loss of regularisation pictures (is_reg) of a data set of "
                                         "pictures",
                              .at_least = 0});
    visit(resize_interpolation,
          {.name = "resize_interpolation",
           .meaning =
               "how pictures of a data set are scaled where its file does not say: bicubic, or as sd-scripts does, "
               "by area where no side grows, else by lanczos",
           .choices = {"bicubic", "area_or_lanczos"}});
  }
  bool operator==(const TrainingPicturesConfig&) const = default;
};

// What a data set file without resize_interpolation takes; empty: what it takes by itself.
inline std::string own_resize_interpolation(const TrainingPicturesConfig& pictures) {
  return pictures.resize_interpolation == TrainingPicturesConfig{}.resize_interpolation ? std::string()
                                                                                        : pictures.resize_interpolation;
}

struct ValidationPicturesConfig {
  std::string dataset;
  std::string dataset_path;
  double split = 0;
  bool all_timesteps = false;
  std::string save_img_folder;
  int64_t save_img_count = 16;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(dataset, {.name = "dataset",
                    .meaning = "kind of the validation data, as in training.dataset; empty: the same kind",
                    .choices = validation_dataset_names(),
                    .none_is_empty = true,
                    .aliases = {"eval.dataset"},
                    .torchtitan_default = "c4_validation"});
    visit(dataset_path, {.name = "dataset_path",
                         .meaning = "location of the validation data; empty with pictures: the part of the training "
                                    "data that validation.split, or validation_split of the data set file, holds back",
                         .none_is_empty = true,
                         .aliases = {"eval.dataset_path"}});
    visit(
        split,
        {.name = "split",
         .meaning = "part of a data set of pictures (dataset = \"pictures\") that is validated on and not trained on, "
                    "refused where it leaves none on a side, chosen by the names of folder and picture alone; 0: what "
                    "the data set file says",
         .at_least = 0,
         .below = 1});
    visit(all_timesteps,
          {.name = "all_timesteps", .meaning = "validate every sample at all 8 timesteps instead of at one"});
    visit(save_img_folder,
          {.name = "save_img_folder",
           .meaning = "folder in job.dump_folder for a grid of pictures at each validation, drawn with the options of "
                      "[sample] from the first captions of the validation data; empty: none",
           .none_is_empty = true,
           .aliases = {"eval.save_img_folder"},
           .torchtitan_default = "img"});
    visit(save_img_count, {.name = "save_img_count",
                           .unit = "pictures",
                           .meaning = "number of captions drawn into validation.save_img_folder",
                           .at_least = 0,
                           .at_most = 1024,
                           .torchtitan_default = "1; in the MLPerf branch one batch per rank"});
  }
  bool operator==(const ValidationPicturesConfig&) const = default;
};

}  // namespace millrace
