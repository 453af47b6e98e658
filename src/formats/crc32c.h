// CRC-32C (Castagnoli), the checksum of TFRecord files. RFC 3720, appendix B.4.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

uint32_t crc32c(std::string_view bytes);

// The form that TFRecord stores, so that checksums of data that contains checksums stay useful: rotated, plus a
// constant. https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
inline uint32_t masked_crc32c(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

}  // namespace millrace
