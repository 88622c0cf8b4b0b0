# What the programs of this folder need beside the folder's support: where the scenario files are,
# and the raw peers of tests/net. Included by tests/CMakeLists.txt.
foreach(target test_trace_files test_trace_language)
    target_compile_definitions(${target} PRIVATE TRACE_FOLDER="${CMAKE_CURRENT_LIST_DIR}")
    target_sources(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/net/support/raw.c)
endforeach()
