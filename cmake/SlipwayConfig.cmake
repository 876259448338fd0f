# find_package(Slipway): the public headers, for plugins and for programs that link libslipway.so.
#   Slipway::headers   include folder; C99 and C++
get_filename_component(_slipway_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET Slipway::headers)
  add_library(Slipway::headers INTERFACE IMPORTED)
  set_target_properties(Slipway::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_slipway_prefix}/include")
endif()
unset(_slipway_prefix)
