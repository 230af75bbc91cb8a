# Run with cmake -P: what a CMake that is too old sees first.
set(CMAKE_VERSION 3.25.1)
include(${CMAKE_CURRENT_LIST_DIR}/../../cmake/KvbmToolchain.cmake)
