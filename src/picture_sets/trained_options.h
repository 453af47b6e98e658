// Options of data sets that can be written and shown, but not trained with.
#pragma once

#include <string>
#include <vector>

#include "images/aspect_buckets.h"
#include "images/resample.h"
#include "picture_sets/options.h"

namespace millrace {

// Throws ConfigError that lists every option, with its place, whose effect training does not have: face_crop_aug_range
// with buckets or not above 0, other custom_attributes than the two below, network_multiplier and debug_dataset.
void check_options_are_trained(const std::vector<DatasetOptions>& datasets);

// The filter of resize_interpolation, the subset's or else its data set's; bicubic where there is none. from, to: sizes
// of the picture before and after.
Filter trained_filter(const DatasetOptions& dataset, const SubsetOptions& subset, const PictureSize& from,
                      const PictureSize& to);

// Whether training knows custom_attributes of this name: one of the two below.
bool is_custom_attribute(const std::string& key);

// custom_attributes.diff_output_preservation: adapters learn to leave the subset's pictures as the frozen model has
// them (differential output preservation).
bool preserves_output(const SubsetOptions& subset);

// custom_attributes.timestep_sampling.offset: what is added to the normal number that the time of a training sample is
// made of, so that the subset is trained at noisier times (above 0) or clearer ones.
double timestep_offset(const SubsetOptions& subset);

}  // namespace millrace
