# Installs ${built} below ${work}, and builds and runs ${consumer} from there. Anything that fails ends it.
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

unset(ENV{DESTDIR})
file(REMOVE_RECURSE ${work})
# A copy, so that no header of the checkout lies within reach.
file(COPY ${consumer} DESTINATION ${work})
run(${CMAKE_COMMAND} --install ${built} --prefix ${work}/prefix)
run(${CMAKE_COMMAND} -G Ninja -S ${work}/consumer -B ${work}/build -DCMAKE_PREFIX_PATH=${work}/prefix
  -DCMAKE_CXX_COMPILER=${compiler} -DCMAKE_CXX_COMPILER_LAUNCHER=${launcher})
run(${CMAKE_COMMAND} --build ${work}/build)
run(${work}/build/consumer)
