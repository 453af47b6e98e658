// The keys of lora.metadata: modelspec's that a user may fill in, the name that the file goes by, and what it says of
// the optimizer and its schedule (ss_optimizer, ss_lr_scheduler). Beside them "ss_NAME" stands for any fact, which then
// is written as given, whatever the run would say.
#pragma once

#include <array>

namespace millrace {

inline constexpr const char* kAnyFactPrefix = "ss_";
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
