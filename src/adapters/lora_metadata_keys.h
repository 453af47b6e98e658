// The keys of lora.metadata: modelspec's that a user may fill in, the name that the file goes by, and what it says of
// the optimizer and its schedule (ss_optimizer, ss_lr_scheduler).
#pragma once

#include <array>

namespace millrace {

inline constexpr std::array kLoraMetadataKeys = {"title",
                                                 "author",
                                                 "description",
                                                 "license",
                                                 "tags",
                                                 "usage_hint",
                                                 "thumbnail",
                                                 "merged_from",
                                                 "trigger_phrase",
                                                 "preprocessor",
                                                 "is_negative_embedding",
                                                 "resolution",
                                                 "output_name",
                                                 "optimizer",
                                                 "lr_scheduler"};

}  // namespace millrace
