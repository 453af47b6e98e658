// The position of a loader as JSON text: the state of the sample order and of the counts, and the data set's identity.
#pragma once

#include <cstdint>
#include <string>

#include "data/bad_samples.h"
#include "data/sample_order.h"

namespace millrace {

// Everything that decides the order of samples; a position is valid only for the identity it was saved with.
struct OrderIdentity {
  uint64_t data_set = 0;  // fingerprint of the shards
  uint64_t num_shards = 0;
  uint64_t seed = 0;
  bool shuffle = true;
  int64_t shuffle_buffer_size = 0;
};

struct LoaderPosition {
  OrderState order;
  BadSampleReport counts;  // names are not saved
  int64_t usable_in_epoch = 0;
};

std::string write_position(const LoaderPosition& position, const OrderIdentity& identity);
// Throws DataError for text that is not a position or belongs to another identity, naming the difference.
LoaderPosition read_position(const std::string& text, const OrderIdentity& identity);

}  // namespace millrace
